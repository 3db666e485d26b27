"""The check of a whole config before any work starts."""

import itertools
from collections.abc import Iterable

import ml_collections

from sdeseg_jax.config import BUILDER_OPTIONS, CHOICES, STAGES, ConfigError, baseline_config, default_config, flatten
from sdeseg_jax.names import nearest


def _same_kind(value, default) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, (tuple, list)):
        return isinstance(value, (tuple, list)) and all(_same_kind(one, default[0]) for one in value if default)
    return isinstance(value, type(default))


def _kind(default) -> str:
    return type(default).__name__ + (
        f" of {_kind(default[0])}" if isinstance(default, (tuple, list)) and default else ""
    )


def unknown_keys(keys: Iterable[str]) -> list[str]:
    """A line for each of `keys` ('section.key') that is no setting, with the nearest that is."""
    defaults = flatten(default_config())
    return [
        f"config.{key}: no such setting{nearest(key, defaults)}"
        for key in keys
        if key not in defaults and not key.startswith(BUILDER_OPTIONS)
    ]


def _key_problems(flat: dict, defaults: dict) -> list[str]:
    problems = unknown_keys(flat)
    for key, value in flat.items():
        if key not in defaults or key.startswith(BUILDER_OPTIONS):
            continue
        if not _same_kind(value, defaults[key]):
            problems.append(f"config.{key}: {value!r} should be of type {_kind(defaults[key])}")
        elif key in CHOICES and value not in CHOICES[key]:
            problems.append(f"config.{key}: unknown value {value!r}{nearest(value, CHOICES[key])}")
    missing = [key for key in defaults if key not in flat and not key.startswith(BUILDER_OPTIONS)]
    return problems + [f"config.{key}: missing; start from sdeseg_jax.config.default_config()" for key in missing]


def _range_problems(config) -> list[str]:
    problems = []

    def require(condition, key, message):
        if not condition:
            problems.append(f"config.{key}: {message}")

    flat = flatten(config)
    for key, value in flat.items():
        name = key.rsplit(".", 1)[-1]
        if name in ("batch_size", "reference_batch_size", "steps", "log_every", "checkpoint_every", "keep_checkpoints"):
            require(value >= 1, key, f"{value} should be at least 1")
        if isinstance(value, (int, float)) and (name.endswith(("weight", "rate", "decay", "norm", "_every"))):
            require(value >= 0, key, f"{value} should not be negative")
    segmentation = config.segmentation
    require(config.seed >= 0, "seed", f"{config.seed} should not be negative")
    profile = tuple(config.profile)
    require(
        not profile or (len(profile) == 2 and all(isinstance(step, int) for step in profile)
                        and 0 <= profile[0] < profile[1]), "profile",
        f"{profile} should be two steps, the first and the one after the last: --config.profile=100,110",
    )  # fmt: skip
    require(0 < config.depth.min_depth < config.depth.max_depth, "depth.min_depth", "should be in (0, max_depth)")
    require(1 <= config.depth.scales <= 4, "depth.scales", f"{config.depth.scales} should be in 1..4")
    require(0 < config.video.share <= 1, "video.share", f"{config.video.share} should be in (0, 1]")
    require(config.data.labels >= 0, "data.labels", f"{config.data.labels} should be 0 (all) or more")
    require(len(config.model.decoder_channels) == 5, "model.decoder_channels", "should have 5 entries, blocks 0..4")
    crop = tuple(config.data.crop)
    require(len(crop) == 2 and min(crop) > 0, "data.crop", f"{crop} should be (height, width)")
    stride = 32
    for name in ("input_size", "window"):
        size = tuple(config.evaluation[name])
        fits = len(size) in (0, 2) and all(isinstance(n, int) and n > 0 and n % stride == 0 for n in size)
        require(fits, f"evaluation.{name}", f"{size} should be (height, width), multiples of {stride}, or empty")
    scales = tuple(config.evaluation.scales)
    require(scales and min(scales) > 0, "evaluation.scales", f"{scales} should be positive factors, one at least")
    require(
        all(side % stride == 0 for side in crop), "data.crop", f"{crop} should be multiples of {stride}, the stride of "
        "the encoder's deepest features before dilation"
    )  # fmt: skip
    require(
        segmentation.mix == "none" or segmentation.pseudo_labels, "segmentation.mix",
        f"'{segmentation.mix}' mixes pseudo-labelled images, but segmentation.pseudo_labels is False",
    )  # fmt: skip
    require(
        segmentation.mix == "none" or segmentation.batch_size >= 2, "segmentation.batch_size",
        "mixing pairs the images of a batch: 2 at least",
    )  # fmt: skip
    require(
        segmentation.mix_disparity == "precomputed" or segmentation.multitask or segmentation.mix != "depth",
        "segmentation.mix_disparity", "'online' needs segmentation.multitask; without it use 'precomputed'",
    )  # fmt: skip
    require(
        not config.init.segmentation_decoder or segmentation.init_decoder == "scratch", "init.segmentation_decoder",
        "segmentation.init_decoder = 'depth' would replace it; set that to 'scratch'",
    )  # fmt: skip
    source = config.source
    require(source.n_candidates >= 1, "source.n_candidates", f"{source.n_candidates} should be at least 1")
    require(len(source.model.decoder_channels) == 5, "source.model.decoder_channels", "should have 5 entries")
    require(
        segmentation.cross_mix == "none" or source.name, "segmentation.cross_mix",
        f"'{segmentation.cross_mix}' mixes with source frames, but config.source.name is empty",
    )  # fmt: skip
    selection = config.selection
    schedule, student_steps = tuple(selection.schedule), [tuple(pair) for pair in selection.student_steps]
    require(
        schedule and schedule[0] > 0 and all(a < b for a, b in itertools.pairwise(schedule)), "selection.schedule",
        f"{schedule} should be numbers of frames that grow, one at least",
    )  # fmt: skip
    require(
        student_steps
        and all(len(pair) == 2 and min(pair) > 0 for pair in student_steps)
        and all(a[0] < b[0] for a, b in itertools.pairwise(student_steps)), "selection.student_steps",
        f"{student_steps} should be pairs (frames, steps), positive, for growing numbers of frames",
    )  # fmt: skip
    for key in ("model.dropout", "selection.student.dropout"):
        require(0 <= flat[key] < 1, key, f"{flat[key]} should be in [0, 1)")
    size = tuple(selection.feature_size)
    require(len(size) == 2 and min(size) > 0, "selection.feature_size", f"{size} should be (rows, columns)")
    channels = selection.student.decoder_channels
    require(len(channels) == 5, "selection.student.decoder_channels", "should have 5 entries, blocks 0..4")
    chosen = config.data.labels_from == "selection"
    require(
        not (chosen and config.data.labels_file), "data.labels_from", "'selection' and data.labels_file name two sets "
        "of labels; leave one out",
    )  # fmt: skip
    require(not chosen or config.data.labels, "data.labels", "0 means all labels, which leaves nothing to select")
    for stage in config.pipeline.stages:
        require(stage in STAGES, "pipeline.stages", f"unknown stage '{stage}'{nearest(stage, STAGES)}")
    return problems


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks a whole config and lists all that is wrong with it at once.

    Raises:
      ConfigError: unknown or missing keys, wrong types, unknown values (with the nearest valid name), bad ranges.
    """
    problems = _key_problems(flatten(config), flatten(default_config()))
    problems = problems or _range_problems(config) or _range_problems(baseline_config(config))
    if problems:
        raise ConfigError("The config does not work:\n  " + "\n  ".join(problems))
