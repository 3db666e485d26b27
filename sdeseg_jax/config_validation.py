"""The check of a whole config before any work starts."""

import functools
import itertools
from collections.abc import Iterable

import ml_collections

from sdeseg_jax.config import BUILDER_OPTIONS, CHOICES, STAGES, ConfigError, baseline_config, default_config, flatten
from sdeseg_jax.names import nearest

_MANY = 2**31 - 1
_POSITIVE = 1e-9

RANGES = {
    # Counted in steps, images, files, threads.
    **dict.fromkeys(("steps", "log_every", "checkpoint_every", "max_skipped_steps", "n_candidates"), (1, _MANY)),
    **dict.fromkeys(("frozen_steps", "decay_steps", "evaluate_every", "labels", "unlabeled", "seed"), (0, _MANY)),
    **dict.fromkeys(("batch_size", "reference_batch_size"), (1, 4096)),
    "checkpoint_minutes": (0, 1e9), "keep_checkpoints": (1, 10_000), "reader_threads": (1, 1024), "profile": (0, _MANY),
    # Pixels, channels, and other sizes.
    **dict.fromkeys(("crop", "input_size", "window", "image_size"), (32, 16384)),
    "decoder_channels": (1, 16384), "aspp_rates": (1, 1024), "feature_size": (1, 1024), "schedule": (1, _MANY),
    "student_steps": (1, _MANY), **dict.fromkeys(("width", "pose_width"), (1 / 64, 64.0)),
    # Factors and weights.
    **dict.fromkeys(
        ("learning_rate", "encoder_learning_rate", "pretrained_learning_rate", "pose_learning_rate"), (0, 1e6)
    ),
    **dict.fromkeys(
        ("cross_mix_weight", "depth_weight", "pseudo_label_weight", "source_weight", "smoothness_weight",
         "feature_distance_weight", "error_weight", "clip_norm", "weight_decay"), (0, 1e9)
    ),
    "decay_factor": (0, 10.0), **dict.fromkeys(("momentum", "teacher_decay", "confidence_threshold"), (0, 1.0)),
    "tolerance": (0, 1.0),
    "mix_margin": (0, 1.0), "dropout": (0, 0.99), "share": (_POSITIVE, 1.0), "scales": (_POSITIVE, 16.0),
    # Geometry.
    **dict.fromkeys(("min_depth", "max_depth", "depth_cap"), (_POSITIVE, 1e9)), "disparity_bias": (-50.0, 50.0),
    **dict.fromkeys(("pose_rotation_scale", "pose_translation_bias"), (-1000.0, 1000.0)),
}  # fmt: skip
"""Smallest and largest value of numbers, also of those in a tuple, by the last part of the setting's name."""

LENGTHS = {"crop": 2, "feature_size": 2, "decoder_channels": 5, "pose_translation_bias": 3}
"""Number of entries of tuples that have a fixed one, by the last part of the setting's name."""

NOT_EMPTY = ("aspp_rates", "scales", "schedule", "student_steps", "formats", "files")
"""Tuples that need an entry, by the last part of the setting's name."""


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


@functools.cache
def _known_keys() -> tuple[str, ...]:
    return tuple(flatten(default_config()))


def unknown_keys(keys: Iterable[str]) -> list[str]:
    """A line for each of `keys` ('section.key') that is no setting, with the nearest that is."""
    defaults = _known_keys()
    return [
        f"config.{key}: no such setting{nearest(key, defaults)}"
        for key in keys
        if key not in defaults and not key.startswith(BUILDER_OPTIONS)
    ]


def _key_problems(flat: dict, defaults: dict) -> dict[str, str]:
    """Setting -> what is wrong with it by itself: its name, the type of its value, the value."""
    problems = dict(zip((key for key in flat if unknown_keys([key])), unknown_keys(flat), strict=True))
    for key, value in flat.items():
        if key not in defaults or key.startswith(BUILDER_OPTIONS):
            continue
        if not _same_kind(value, defaults[key]):
            problems[key] = f"config.{key}: {value!r} should be of type {_kind(defaults[key])}"
        elif unknown := [one for one in _entries(value) if key in CHOICES and one not in CHOICES[key]]:
            problems[key] = f"config.{key}: unknown value {unknown[0]!r}{nearest(unknown[0], CHOICES[key])}"
        elif problem := _value_problem(key.rsplit(".", 1)[-1], value):
            problems[key] = f"config.{key}: {problem}"
    for key in defaults:
        if key not in flat and not key.startswith(BUILDER_OPTIONS):
            problems[key] = f"config.{key}: missing; start from sdeseg_jax.config.default_config()"
    return problems


def _repaired(flat: dict, problems: Iterable[str]) -> ml_collections.ConfigDict:
    """The config with the default value of every setting that something is wrong with: one that the others can be
    looked at in, beside each other. Without options of datasets."""
    repaired = default_config()
    known = flatten(repaired)
    for key, value in flat.items():
        if key in known and key not in problems and not key.startswith(BUILDER_OPTIONS):
            *sections, name = key.split(".")
            section = functools.reduce(lambda node, part: node[part], sections, repaired)
            with section.ignore_type():
                section[name] = value
    return repaired


def _entries(value) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _value_problem(name: str, value) -> str | None:
    """What is wrong with a value by itself.

    Args:
      name: last part of the setting's.
      value: of the right type.
    """
    entries = _entries(value)
    if isinstance(value, (tuple, list)):
        if name in LENGTHS and len(entries) != LENGTHS[name]:
            return f"{entries} should have {LENGTHS[name]} entries"
        if name in NOT_EMPTY and not entries:
            return "() should have an entry at least"
    for one in entries:
        if isinstance(one, (tuple, list)):
            if problem := _value_problem(name, one):
                return problem
        elif isinstance(one, str):
            if not one.isprintable():
                return f"{one!r} has characters in it that no name has"
        elif name in RANGES and not isinstance(one, bool):
            low, high = RANGES[name]
            if not low <= one <= high:  # nor is NaN
                low = "more than 0" if low == _POSITIVE else low
                return f"{value} should be {low} to {high}"
    return None


def _relation_problems(config) -> list[str]:
    """What is wrong with settings beside each other."""
    problems = []

    def require(condition, key, message):
        if not condition:
            problems.append(f"config.{key}: {message}")

    segmentation = config.segmentation
    profile = tuple(config.profile)
    require(
        not profile or (len(profile) == 2 and all(isinstance(step, int) for step in profile)
                        and 0 <= profile[0] < profile[1]), "profile",
        f"{profile} should be two steps, the first and the one after the last: --config.profile=100,110",
    )  # fmt: skip
    require(0 < config.depth.min_depth < config.depth.max_depth, "depth.min_depth", "should be in (0, max_depth)")
    require(1 <= config.depth.scales <= 4, "depth.scales", f"{config.depth.scales} should be in 1..4")
    size = tuple(config.export.image_size)
    require(len(size) in (0, 2), "export.image_size", f"{size} should be (height, width), or empty")
    crop, stride = tuple(config.data.crop), 32
    for name in ("input_size", "window"):
        size = tuple(config.evaluation[name])
        fits = len(size) in (0, 2) and all(isinstance(n, int) and n > 0 and n % stride == 0 for n in size)
        require(fits, f"evaluation.{name}", f"{size} should be (height, width), multiples of {stride}, or empty")
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
    require(
        segmentation.cross_mix == "none" or source.name, "segmentation.cross_mix",
        f"'{segmentation.cross_mix}' mixes with source frames, but config.source.name is empty",
    )  # fmt: skip
    selection = config.selection
    schedule, student_steps = tuple(selection.schedule), [tuple(pair) for pair in selection.student_steps]
    require(
        all(a < b for a, b in itertools.pairwise(schedule)), "selection.schedule",
        f"{schedule} should be numbers of frames that grow",
    )  # fmt: skip
    require(
        all(len(pair) == 2 for pair in student_steps)
        and all(a[0] < b[0] for a, b in itertools.pairwise(student_steps)), "selection.student_steps",
        f"{student_steps} should be pairs (frames, steps), for growing numbers of frames",
    )  # fmt: skip
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
    flat = flatten(config)
    problems = _key_problems(flat, flatten(default_config()))
    found = list(problems.values())
    # The rest as if that were put right; what is said of a value that is not the config's own would be wrong.
    repaired = _repaired(flat, problems)
    for one in (repaired, baseline_config(repaired)):
        for line in _relation_problems(one):
            if line not in found and not any(line.startswith(f"config.{key}:") for key in problems):
                found.append(line)
    if found:
        raise ConfigError("The config does not work:\n  " + "\n  ".join(found))
