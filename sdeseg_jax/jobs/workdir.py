"""The workdir: fixed places for what stages hand over, and the record of what was done with which config."""

import json
import os
import pathlib
import time
from contextlib import contextmanager

from sdeseg_jax.config import ConfigError, baseline_config, default_config, flatten, source_config, uses_source
from sdeseg_jax.training.hosts import is_first, wait_for_all

FOLDERS = {
    "dataset": "dataset",
    "pretrain_depth": "depth",
    "estimate_depth": "disparity",
    "pretrain_source_depth": "source/depth",
    "estimate_source_depth": "source/disparity",
    "select_labels": "selection",
    "baseline": "baseline",
    "train": "segmentation",
    "evaluate": "evaluation",
    "report": "report",
}
"""Stage -> its folder."""

SUMMARIES = ("evaluate", "report")
"""Stages that tell of what others did: done anew when run again, where the others only do what is missing."""

_DATA = ("data.name", "data.variant", "data.options", "data.train_split")
_DEPTH_SECTIONS = ("seed", *_DATA, "data.crop", "data.flip", "video", "model", "init", "depth")
_ALL_SECTIONS = (
    *_DEPTH_SECTIONS, "data.labels", "data.labels_from", "data.labels_file", "data.unlabeled", "data.protocol",
    "segmentation", "source",
)  # fmt: skip
RELEVANT = {
    "dataset": (
        "data.name", "data.variant", "data.options", "video", "source.name", "source.variant", "source.options",
        "source.video",
    ),
    "pretrain_depth": _DEPTH_SECTIONS,
    "estimate_depth": _DEPTH_SECTIONS,
    "pretrain_source_depth": _DEPTH_SECTIONS,
    "estimate_source_depth": _DEPTH_SECTIONS,
    "select_labels": (*_DEPTH_SECTIONS, "data.protocol", "selection"),
    "baseline": _ALL_SECTIONS,
    "train": _ALL_SECTIONS,
    "evaluate": (*_ALL_SECTIONS, "evaluation"),
    "report": (),
}  # fmt: skip
"""Settings that decide what a stage computes; those of others may change without making its results invalid."""

_BORROWED = ("model", "depth.min_depth", "depth.max_depth", "depth.supervision")
"""Settings that a depth network of another workdir must share with this run; how it was trained may differ, ..."""
_BORROWED_ANYHOW = ("model.dtype", "model.remat", "model.dropout", "model.sync_batch_norm")
"""... and so may these, which do not change what its weights mean."""

_OF_SOURCE = ("pretrain_source_depth", "estimate_source_depth")


def write_json(path: pathlib.Path, content) -> None:
    """Writes a JSON file that is whole whenever it exists; of several hosts the first does."""
    if not is_first():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


class Workdir:
    """A run's folder.

    Attributes:
      root: where the run writes.
      borrowed: stage -> (its folder in another run, the setting that names it).
    """

    def __init__(self, root: str | pathlib.Path, config=None):
        """Names a folder, which need not exist.

        Args:
          root: of this run.
          config: says which stages are other runs'; None for none.
        """
        self.root, self.borrowed = pathlib.Path(root).absolute(), {}

        def borrow(stage: str, key: str, workdir: str, folder: str) -> None:
            if workdir:
                self.borrowed[stage] = pathlib.Path(workdir).absolute() / folder, f"config.{key}"

        if config is not None:
            borrow("pretrain_depth", "depth.workdir", config.depth.workdir, "depth")
            borrow("pretrain_source_depth", "source.workdir", config.source.workdir, "source/depth")
            borrow("estimate_source_depth", "source.workdir", config.source.workdir, "source/disparity")
            borrow("pretrain_source_depth", "source.depth.workdir", config.source.depth.workdir, "depth")

    def borrows(self, stage: str) -> bool:
        """Whether a stage's results are another run's: there is nothing to compute."""
        return stage in self.borrowed

    def folder(self, stage: str) -> pathlib.Path:
        """Where a stage's results lie."""
        return self.borrowed[stage][0] if self.borrows(stage) else self.root / FOLDERS[stage]

    def record(self, stage: str) -> dict | None:
        """What `stage.json` says: {"config", "finished", "seconds", "metrics"}; None before the stage started."""
        path = self.folder(stage) / "stage.json"
        return json.loads(path.read_text()) if path.exists() else None

    def finished(self, stage: str) -> bool:
        """Whether a stage is complete."""
        record = self.record(stage)
        return bool(record and record["finished"])

    def require(self, stage: str, why: str) -> None:
        """Raises ConfigError, naming the job to run, if a stage that another needs is not complete."""
        if not self.finished(stage):
            if self.borrows(stage):
                folder, key = self.borrowed[stage]
                raise ConfigError(f"{key}: {folder} holds no finished '{stage}' (its stage.json would say so)")
            raise ConfigError(
                f"{why}, but {self.folder(stage)} holds no finished '{stage}'. Run it first: --job={stage} with the "
                "same --config and --workdir (or --job=pipeline for all stages)."
            )

    @contextmanager
    def stage(self, stage: str, config):
        """Runs the body as a stage: checks the config against an earlier start, records time and result.

        Yields a dict; what the body puts in becomes the stage's metrics.

        Raises:
          ConfigError: the folder was made with other settings; the differences are shown.
        """
        relevant = relevant_settings(config, stage)
        previous = self.record(stage)
        if previous:
            stored = with_defaults(previous["config"], relevant, stage)
            check_same(_lasting(stored), _lasting(relevant), self.folder(stage))
        wait_for_all(f"start of {stage}")  # until all have read the record that the first is about to replace
        continued = previous is not None and not (previous["finished"] and stage in SUMMARIES)
        seconds = previous["seconds"] if continued else 0.0
        record = {"stage": stage, "finished": False, "seconds": seconds, "config": relevant, "metrics": {}}
        write_json(self.folder(stage) / "stage.json", record)
        start, metrics = time.monotonic(), {}
        try:
            yield metrics
            record |= {"finished": True, "metrics": metrics}
        finally:
            record["seconds"] = round(seconds + time.monotonic() - start, 2)
            write_json(self.folder(stage) / "stage.json", record)
        wait_for_all(f"end of {stage}")


def stage_config(config, stage: str):
    """The config that a stage works with: that of the run, with the baseline's overrides or the source's data."""
    if stage == "baseline":
        return baseline_config(config)
    return source_config(config) if stage in _OF_SOURCE else config


def relevant_settings(config, stage: str) -> dict:
    """{'section.key': value} of the settings that a stage's result depends on, as JSON has them."""
    sections = RELEVANT[stage]
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


def _lasting(settings: dict) -> dict:
    """Settings without those that may change.

    How a run is scored, for scores are computed anew, and the schedule of a selection, which may be continued:
    `jobs.candidates.check_unchanged` looks at it.
    """
    return {
        key: value
        for key, value in settings.items()
        if not key.startswith("evaluation.") and key != "selection.schedule"
    }


def with_defaults(stored: dict, current: dict, stage: str) -> dict:
    """A stage's settings on disk, with those that are younger than its folder: as it was before there was a choice."""
    defaults = _as_json(flatten(stage_config(default_config(), stage)))
    return {key: value for key, value in defaults.items() if key in current} | stored


def is_outdated(config, workdir: Workdir, stage: str) -> bool:
    """Whether a finished summary was made with other settings of how to score."""
    if stage not in SUMMARIES:
        return False
    current = relevant_settings(config, stage)
    return with_defaults(workdir.record(stage)["config"], current, stage) != current


def check_same(stored: dict, current: dict, folder: pathlib.Path) -> None:
    """Raises ConfigError with the differences if a folder's settings are not the current ones."""
    keys = sorted(stored.keys() | current.keys())
    different = [key for key in keys if stored.get(key) != current.get(key)]
    if "data.labels_from" in different:  # how one of the two selects is of no interest then
        different = [key for key in different if not key.startswith("selection.")]
    if different:
        lines = [f"config.{key}: {stored.get(key)!r} there, {current.get(key)!r} now" for key in different]
        raise ConfigError(
            f"{folder} was made with another config:\n  "
            + "\n  ".join(lines)
            + "\nUse another --workdir, or remove that folder to compute it anew."
        )


def check_borrowed(config, workdir: Workdir, stage: str) -> bool:
    """Whether a stage is another run's; then it must be finished, and fit this run.

    Raises:
      ConfigError: it does not.
    """
    if workdir.borrows(stage):
        workdir.require(stage, workdir.borrowed[stage][1])
        check_stage(config, workdir, stage)
    return workdir.borrows(stage)


def check_stage(config, workdir: Workdir, stage: str) -> None:
    """Raises ConfigError with the differences if a stage on disk was made with other settings than these.

    Args:
      config: of the run; what a stage overrides in it is applied here.
    """
    current = relevant_settings(stage_config(config, stage), stage)
    stored = with_defaults(workdir.record(stage)["config"], current, stage)
    if workdir.borrows(stage):
        sections = (*_BORROWED, *_DATA) if stage == "estimate_source_depth" else _BORROWED
        stored, current = (
            {key: value for key, value in _select(one, sections).items() if key not in _BORROWED_ANYHOW}
            for one in (stored, current)
        )
    check_same(_lasting(stored), _lasting(current), workdir.folder(stage))
