"""Which settings decide what a stage computes, and how those of two runs differ."""

import json
import os

from sdeseg_jax.config import (
    SETTINGS,
    UserError,
    baseline_config,
    default_config,
    flatten,
    source_config,
    uses_source,
)

SUMMARIES = ("evaluate", "report", "export")
"""Stages that tell of what others did: done anew when run again, where the others only do what is missing."""

_DATA = ("data.name", "data.variant", "data.options", "data.train_split")
_DEPTH_SECTIONS = ("seed", *_DATA, "data.crop", "data.flip", "video", "model", "init", "depth")

_BORROWED = ("model", "depth.min_depth", "depth.max_depth", "depth.supervision")
"""Settings that a depth network of another workdir must share with this run; how it was trained may differ, ..."""
_BORROWED_ANYHOW = ("model.dtype", "model.remat", "model.dropout", "model.sync_batch_norm")
"""... and so may these, which do not change what its weights mean."""

_OF_SOURCE = ("pretrain_source_depth", "estimate_source_depth")

_OF_DEPTH = ("video", "depth", "estimate.workdir", "init.depth_decoder", "init.pose")
"""Settings that matter to a segmentation training only where it uses depth in some way."""


def stage_config(config, stage: str):
    """The config that a stage works with: that of the run, with the baseline's overrides or the source's data."""
    if stage == "baseline":
        return baseline_config(config)
    return source_config(config) if stage in _OF_SOURCE else config


def recorded_settings(stage: str) -> tuple[str, ...]:
    """Keys of the settings that a stage records: its results depend on them."""
    return tuple(
        key
        for key, one in SETTINGS.items()
        if stage in one.stages and (one.recorded_by is None or stage in one.recorded_by)
    )


def relevant_settings(config, stage: str) -> dict:
    """{'section.key': value} of the settings that a stage's result depends on, as JSON has them."""
    sections = recorded_settings(stage)
    if not (config.source.name if stage == "dataset" else uses_source(config)):
        sections = tuple(section for section in sections if not section.startswith("source"))
    if "data.labels_from" in sections and config.data.labels_from == "selection":
        sections = (*sections, "selection")
    return _as_json(_select(flatten(config), sections))


def _as_json(settings: dict) -> dict:
    return json.loads(json.dumps(settings, default=list))


def _select(flat: dict, sections: tuple[str, ...]) -> dict:
    """The settings that are, or lie in, one of the sections."""
    return {
        key: value
        for key, value in flat.items()
        if any(key == section or key.startswith(section + ".") for section in sections)
    }


def with_defaults(stored: dict, current: dict, stage: str) -> dict:
    """A stage's settings on disk, with those that are younger than its folder: as it was before there was a choice."""
    defaults = _as_json(flatten(stage_config(default_config(), stage)))
    for key, older in ((key, one.split_from) for key, one in SETTINGS.items()):
        if older in stored and key in current:  # of no effect where depth is not co-trained
            defaults[key] = stored[older] if stored.get("segmentation.multitask") else current[key]
    return {key: value for key, value in defaults.items() if key in current} | stored


def differences(stored: dict, config, stage: str, borrowed: bool = False, of_depth_alone: bool = False) -> list[str]:
    """A line for each setting that differs between a stage on disk and what would be computed now.

    Args:
      stored: settings of its record.
      config: that the stage works with, see `stage_config`.
      borrowed: whether the stage is another run's, of which less has to be the same.
      of_depth_alone: whether it is an evaluation without segmentation; how that is trained may have changed then.
    """
    current = relevant_settings(config, stage)
    stored = with_defaults(stored, current, stage)
    if of_depth_alone:
        stored, current = (_select(one, _DEPTH_SECTIONS) for one in (stored, current))
    if borrowed:
        sections = (*_BORROWED, *_DATA) if stage.startswith("estimate") else _BORROWED
        stored, current = (
            {key: value for key, value in _select(one, sections).items() if key not in _BORROWED_ANYHOW}
            for one in (stored, current)
        )
    depth_on_one_side = _uses_depth(stored) != _uses_depth(current)
    stored, current = _decisive(stored, stage), _decisive(current, stage)
    keys = sorted(stored.keys() | current.keys())
    different = [key for key in keys if stored.get(key) != current.get(key)]
    if "data.labels_from" in different:  # how one of the two selects is of no interest then
        different = [key for key in different if not key.startswith("selection.")]
    if stage in ("baseline", "train") and depth_on_one_side:  # nor how depth is learned where only one has any
        different = [key for key in different if not _select({key: 0}, _OF_DEPTH)]
    return [f"config.{key}: {stored.get(key)!r} there, {current.get(key)!r} now" for key in different]


def _decisive(settings: dict, stage: str) -> dict:
    """Settings without those that may change, and with paths as they are, however they were named.

    How a run is scored may, for scores are computed anew, and the schedule of a selection, which may be continued:
    `jobs.candidates.check_unchanged` looks at it. What is about depth may, for a training that uses none.
    """
    unused = _OF_DEPTH if stage in ("baseline", "train") and not _uses_depth(settings) else ()
    kept = {key: value for key, value in settings.items() if key not in _select(settings, unused)}
    return {
        key: os.path.abspath(os.path.expanduser(value)) if _is_path(key, value) else value
        for key, value in kept.items()
        if not key.startswith("evaluation.") and key != "selection.schedule"
    }


def _is_path(key: str, value) -> bool:
    return bool(value) and key in SETTINGS and SETTINGS[key].is_path and value != "annotated"


def _uses_depth(settings: dict) -> bool:
    """Whether a segmentation training learns depth, starts or mixes by it, or has labels that were chosen by it."""
    get = settings.get
    return (
        bool(get("segmentation.multitask"))
        or "depth" in (get("segmentation.init_encoder"), get("segmentation.init_decoder"))
        or "depth" in (get("segmentation.mix"), get("segmentation.cross_mix"))
        or (get("segmentation.cross_mix", "none") != "none" and get("source.n_candidates", 1) > 1)
        or get("data.labels_from") == "selection"
    )


def changes_of_summary(stored: dict, config, stage: str) -> list[str]:
    """Settings that a finished summary was made with otherwise, those of how to score among them."""
    current = relevant_settings(config, stage)
    stored = with_defaults(stored, current, stage)
    keys = sorted(stored.keys() | current.keys())
    return [
        f"config.{key}: {stored.get(key)!r} there, {current.get(key)!r} now"
        for key in keys
        if stored.get(key) != current.get(key)
    ]


def another_config(folder, lines: list[str], borrowed: str = "") -> UserError:
    """The error that a folder was made with other settings.

    Args:
      borrowed: setting that names the other run that it is of.
    """
    advice = f"Name another run in config.{borrowed}; or --changed=keep takes it as it is." if borrowed else ADVICE
    return UserError(f"{folder} was made with another config:\n  " + "\n  ".join(lines) + f"\n{advice}")


ADVICE = (
    "Use another --workdir; or --changed=keep to go on with it as it is; or, with --job=pipeline or the stage's own "
    "job, --changed=redo to compute it anew (what is there is moved to outdated/ in the workdir)."
)
"""What to do about a changed config."""
