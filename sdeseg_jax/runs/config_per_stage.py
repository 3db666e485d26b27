"""Which settings decide what a stage computes, and how those of two runs differ."""

import json
import os

from sdeseg_jax.config import (
    SETTINGS,
    ConfigError,
    UserError,
    baseline_config,
    default_config,
    flatten,
    source_config,
    source_keys,
    uses_source,
)
from sdeseg_jax.config.errors import moved_key
from sdeseg_jax.models.encoders.weight_sources import is_weight_name

SUMMARIES = ("evaluate", "report", "export")
"""Stages that summarise others. Run again, they start over; the others only compute what is missing."""

_DATA = ("data.name", "data.variant", "data.options", "data.train_split")
_DEPTH_SECTIONS = ("seed", *_DATA, "data.crop", "data.flip", "video", "model", "init", "depth")

_BORROWED = ("model", "depth.min_depth", "depth.max_depth", "depth.supervision")
"""Settings that a depth network of another workdir must share with this run; its training may differ, ..."""
_BORROWED_MAY_DIFFER = ("model.dtype", "model.remat", "model.dropout", "model.sync_batch_norm")
"""... and so may these, which do not change what its weights mean."""

_OF_SOURCE = ("pretrain_source_depth", "estimate_source_depth")

_OF_DEPTH = ("video", "depth", "estimate.workdir", "init.depth_decoder", "init.pose")
"""Settings that matter to a segmentation training only if it uses depth."""


def stage_config(config, stage: str):
    """Returns the config that a stage works with: the run's, with the baseline's overrides or the source's data."""
    if stage == "baseline":
        return baseline_config(config)
    return source_config(config) if stage in _OF_SOURCE else config


def recorded_settings(stage: str) -> tuple[str, ...]:
    """Returns the keys of the settings that a stage records, because its results depend on them."""
    return tuple(
        key
        for key, one in SETTINGS.items()
        if stage in one.stages and (one.recorded_by is None or stage in one.recorded_by)
    )


def relevant_settings(config, stage: str) -> dict:
    """Returns {'section.key': value} of the settings that a stage's results depend on, as JSON stores them."""
    sections = recorded_settings(stage)
    if not (config.source.name if stage == "dataset" else uses_source(config)):
        sections = tuple(section for section in sections if not section.startswith("source"))
    if "data.labels_from" in sections and config.data.labels_from == "selection":
        sections = (*sections, "selection")
    return _as_json(_select(flatten(config), sections))


def _as_json(settings: dict) -> dict:
    return json.loads(json.dumps(settings, default=list))


def _select(flat: dict, sections: tuple[str, ...]) -> dict:
    """Returns the settings whose key, or a section of it, is in `sections`."""
    return {key: value for key, value in flat.items() if any(f"{key}.".startswith(f"{one}.") for one in sections)}


def with_defaults(stored: dict, current: dict, stage: str) -> dict:
    """Adds settings that did not exist when a stage recorded `stored`, with their defaults: how it worked then."""
    defaults = _as_json(flatten(stage_config(default_config(), stage)))
    for key, setting in SETTINGS.items():
        if setting.split_from in stored and key in current:  # has no effect unless depth is co-trained
            defaults[key] = stored[setting.split_from] if stored.get("segmentation.multitask") else current[key]
    return {key: value for key, value in defaults.items() if key in current} | stored


def differences(stored: dict, config, stage: str, borrowed: bool = False, depth_only: bool = False) -> list[str]:
    """Returns a line for each setting that differs between a stage on disk and a config.

    Args:
      stored: settings in the stage's record.
      config: that the stage works with, see `stage_config`.
      borrowed: whether the stage belongs to another run; then fewer settings have to agree.
      depth_only: whether it is an evaluation without segmentation, whose settings may then differ.
    """
    current = relevant_settings(config, stage)
    stored = with_defaults(stored, current, stage)
    if depth_only:
        stored, current = (_select(one, _DEPTH_SECTIONS) for one in (stored, current))
    if borrowed:
        sections = (*_BORROWED, *_DATA) if stage.startswith("estimate") else _BORROWED
        stored, current = (
            {key: value for key, value in _select(one, sections).items() if key not in _BORROWED_MAY_DIFFER}
            for one in (stored, current)
        )
    depth_on_one_side = _uses_depth(stored) != _uses_depth(current)
    stored, current = _decisive(stored, stage), _decisive(current, stage)
    different = _different_values(stored, current, source_keys(config) if stage in _OF_SOURCE else {})
    meaningless = ("selection",) if "data.labels_from" in different else ()  # only one of the two selects
    if stage in ("baseline", "train") and depth_on_one_side:
        meaningless += _OF_DEPTH
    return [line for key, line in different.items() if not _select({key: line}, meaningless)]


def _different_values(stored: dict, current: dict, given: dict[str, str]) -> dict[str, str]:
    """Returns {key: line with both values} of the settings that differ.

    Args:
      stored, current: key -> value.
      given: key or section -> where the user gives it, see `moved_key`.
    """
    keys = [key for key in sorted(stored.keys() | current.keys()) if stored.get(key) != current.get(key)]
    return {key: f"config.{moved_key(key, given)}: {stored.get(key)!r} there, {current.get(key)!r} now" for key in keys}


def _decisive(settings: dict, stage: str) -> dict:
    """Returns the settings that may not change, with absolute paths.

    Settings of scoring may change, because scores are computed again; so may a selection's schedule, because a
    selection can be continued (see `selection_candidates.check_unchanged`), and, for a training without depth, settings
    of depth.
    """
    unused = _OF_DEPTH if stage in ("baseline", "train") and not _uses_depth(settings) else ()
    kept = {key: value for key, value in settings.items() if key not in _select(settings, unused)}
    return {
        key: os.path.abspath(os.path.expanduser(value)) if _is_path(key, value) else value
        for key, value in kept.items()
        if not key.startswith("evaluation.") and key != "selection.schedule"
    }


def _is_path(key: str, value) -> bool:
    is_path = key in SETTINGS and SETTINGS[key].is_path
    return bool(value) and is_path and value != "annotated" and not is_weight_name(value)


def _uses_depth(settings: dict) -> bool:
    """Whether a segmentation training learns depth, starts from or mixes by it, or has labels that it selected."""
    get = settings.get
    return (
        bool(get("segmentation.multitask"))
        or "depth" in (get("segmentation.init_encoder"), get("segmentation.init_decoder"))
        or "depth" in (get("segmentation.mix"), get("segmentation.cross_mix"))
        or (get("segmentation.cross_mix", "none") != "none" and get("source.n_candidates", 1) > 1)
        or get("data.labels_from") == "selection"
    )


def changes_of_summary(stored: dict, config, stage: str) -> list[str]:
    """Returns a line for each setting that changed since a summary was written, including those of scoring."""
    current = relevant_settings(config, stage)
    return list(_different_values(with_defaults(stored, current, stage), current, {}).values())


def another_config(folder, lines: list[str], borrowed: str = "") -> UserError:
    """Returns the error that a folder was made with other settings.

    Args:
      folder: of a stage.
      lines: of `differences`.
      borrowed: setting that names the run whose folder it is; "" for this run.
    """
    message = "\n  ".join([f"{folder} was made with another config:", *lines])
    if borrowed:
        return ConfigError(borrowed, f"{message}\nName another run, or use this one as it is with --changed=keep.")
    return UserError(f"{message}\n{ADVICE}")


ADVICE = (
    "Use another --workdir; or --changed=keep to use the results as they are; or, with --job=pipeline or the stage's "
    "own job, --changed=redo to compute them again (the old ones are moved to outdated/ in the workdir)."
)
"""What to do about a changed config."""
