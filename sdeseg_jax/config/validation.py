"""Checks a whole config before any work starts."""

import functools
import itertools
from collections.abc import Collection, Iterable, Iterator

import ml_collections

from sdeseg_jax.config.all_settings import BUILDER_OPTIONS, SETTINGS
from sdeseg_jax.config.default_config import default_config, flatten
from sdeseg_jax.config.depth_settings import TRANSFORMERS
from sdeseg_jax.config.derived import baseline_config
from sdeseg_jax.config.errors import ConfigError, UserError
from sdeseg_jax.config.suggestions import nearest


def _is_option(key: str) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in BUILDER_OPTIONS)


def unknown_keys(keys: Iterable[str]) -> list[ConfigError]:
    """An error for each of `keys` ("section.key") that is no setting, with the nearest that is."""
    return [
        ConfigError(key, f"no such setting{nearest(key, SETTINGS)}")
        for key in keys
        if key not in SETTINGS and not _is_option(key)
    ]


def _single_errors(flat: dict) -> list[ConfigError]:
    """What is wrong with settings by themselves: names, types, values."""
    errors = unknown_keys(flat)
    for key, setting in SETTINGS.items():
        if setting.holds_options:
            continue
        if key not in flat:
            errors.append(ConfigError(key, "missing; start from sdeseg_jax.config.default_config()"))
        elif problem := setting.problem(flat[key]):
            errors.append(ConfigError(key, problem))
    return errors


def _repaired(flat: dict, wrong: Collection[str]) -> ml_collections.ConfigDict:
    """The config with the default of each setting that is wrong, so that the others can be checked together.

    Without options of datasets.
    """
    repaired = default_config()
    for key, value in flat.items():
        if key in SETTINGS and key not in wrong and not _is_option(key):
            *sections, name = key.split(".")
            section = functools.reduce(lambda node, part: node[part], sections, repaired)
            with section.ignore_type():
                section[name] = value
    return repaired


def _combination_errors(config) -> Iterator[ConfigError]:
    """What is wrong with settings that are each right by themselves."""
    profile, depth, segmentation = tuple(config.profile), config.depth, config.segmentation
    if profile and not profile[0] < profile[1]:
        yield ConfigError(
            "profile", f"{profile} should be two steps, the first and the one after the last: {{flag}}=100,110"
        )
    if not depth.min_depth < depth.max_depth:
        yield ConfigError("depth.min_depth", f"{depth.min_depth:g} should be less than max_depth, {depth.max_depth:g}")
    if segmentation.mix != "none" and not segmentation.pseudo_labels:
        yield ConfigError(
            "segmentation.mix",
            f"'{segmentation.mix}' mixes pseudo-labelled images, but segmentation.pseudo_labels is False",
        )
    if segmentation.mix != "none" and segmentation.batch_size < 2:
        yield ConfigError("segmentation.batch_size", "mixing pairs the images of a batch, which needs at least 2")
    online = segmentation.mix == "depth" and segmentation.mix_disparity == "online"
    if online and not segmentation.multitask:
        yield ConfigError(
            "segmentation.mix_disparity", "'online' needs segmentation.multitask; without it use 'precomputed'"
        )
    if segmentation.head == "linear" and (segmentation.multitask or segmentation.init_decoder == "depth"):
        key, value = ("multitask", "False") if segmentation.multitask else ("init_decoder", "scratch")
        yield ConfigError(f"segmentation.{key}", f"segmentation.head = 'linear' has no decoder: set this to {value}")
    if config.model.drop_path and config.model.backbone not in TRANSFORMERS:
        yield ConfigError(
            "model.drop_path", f"{config.model.backbone} has no paths to drop; set it to 0, or use a Vision Transformer"
        )
    if config.model.backbone in TRANSFORMERS and segmentation.optimizer == "sgd" and not segmentation.freeze_encoder:
        yield ConfigError(
            "segmentation.optimizer",
            f"sgd, at rates for convolutional networks, would spoil {config.model.backbone}. Choose the encoder in the "
            f"config's arguments, encoder={config.model.backbone}, which sets what suits it; or {{flag}}=adamw, with a "
            "learning rate like 2e-4, and for the encoder 5e-6",
        )
    if config.init.segmentation_decoder and segmentation.init_decoder != "scratch":
        yield ConfigError(
            "init.segmentation_decoder", "segmentation.init_decoder = 'depth' would replace it; set that to 'scratch'"
        )
    if segmentation.cross_mix != "none" and not config.source.name:
        yield ConfigError(
            "segmentation.cross_mix",
            f"'{segmentation.cross_mix}' mixes with source frames, but config.source.name is empty",
        )
    yield from _selection_errors(config)


def _selection_errors(config) -> Iterator[ConfigError]:
    schedule = tuple(config.selection.schedule)
    student_steps = [tuple(pair) for pair in config.selection.student_steps]
    if not all(a < b for a, b in itertools.pairwise(schedule)):
        yield ConfigError("selection.schedule", f"{schedule} should be growing numbers of frames")
    pairs = all(len(pair) == 2 for pair in student_steps)
    if not pairs or not all(a[0] < b[0] for a, b in itertools.pairwise(student_steps)):
        yield ConfigError(
            "selection.student_steps", f"{student_steps} should be pairs (frames, steps), for growing numbers of frames"
        )
    if config.data.labels_from == "selection":
        if config.data.labels_file:
            yield ConfigError(
                "data.labels_from", "'selection' and data.labels_file name two sets of labels; leave one out"
            )
        if not config.data.labels:
            yield ConfigError("data.labels", "0 means all labels, which leaves nothing to select")


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks a whole config, and reports all problems together.

    Raises:
      ConfigError: unknown or missing keys, wrong types, unknown values (with the nearest valid name), values out of
        range, settings that do not go together.
    """
    flat = flatten(config)
    errors = _single_errors(flat)
    wrong = {one.key for one in errors}
    repaired = _repaired(flat, wrong)
    for one in (repaired, baseline_config(repaired)):
        found = {str(error) for error in errors}
        errors += [error for error in _combination_errors(one) if error.key not in wrong and str(error) not in found]
    if errors:
        raise UserError("The config does not work:\n  " + "\n  ".join(map(str, errors)))
