"""The workdir: fixed places for what stages hand over, and the record of what was done with which config."""

import datetime
import logging
import os
import pathlib
import platform
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, contextmanager

import jax

import sdeseg_jax
from sdeseg_jax.config import ConfigError, UserError, to_json
from sdeseg_jax.runs.config_per_stage import (
    SUMMARIES,
    another_config,
    changes_of_summary,
    differences,
    relevant_settings,
    stage_config,
)
from sdeseg_jax.runs.frame_id_files import read_ids
from sdeseg_jax.runs.stage_records import command_line, devices, read_record, recorded, write_json
from sdeseg_jax.storage.atomic_files import TEMPORARY
from sdeseg_jax.storage.disk_errors import disk_problem
from sdeseg_jax.storage.process_lock import InUseError, only_process
from sdeseg_jax.training.multi_host import is_first, wait_for_all

log = logging.getLogger(__name__)

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
    "export": "export",
}
"""Stage -> its folder."""

LABELED = "labeled.json"
"""File beside a training's checkpoints: the ids of its annotated frames."""


class Workdir:
    """A run's folder.

    Attributes:
      root: where the run writes.
      changed: what to do with what was made with another config: "refuse" it, "keep" it as it is, or "redo" it.
      borrowed: stage -> (its folder in another run, the setting that names it).
    """

    def __init__(self, root: str | pathlib.Path, config=None, changed: str = "refuse"):
        """Names a folder, which need not exist.

        Args:
          root: of this run.
          config: says which stages are other runs'; None for none.
          changed: see the attribute.
        """
        self.root, self.changed, self.borrowed = pathlib.Path(root).absolute(), changed, {}
        self._hidden: frozenset[str] = frozenset()

        def borrow(stage: str, key: str, workdir: str, folder: str) -> None:
            if workdir:
                self.borrowed[stage] = pathlib.Path(workdir).expanduser().absolute() / folder, key

        if config is not None:
            borrow("pretrain_depth", "depth.workdir", config.depth.workdir, "depth")
            borrow("estimate_depth", "estimate.workdir", config.estimate.workdir, "disparity")
            borrow("pretrain_source_depth", "source.workdir", config.source.workdir, "source/depth")
            borrow("estimate_source_depth", "source.workdir", config.source.workdir, "source/disparity")
            borrow("pretrain_source_depth", "source.depth.workdir", config.source.depth.workdir, "depth")

    @contextmanager
    def locked(self):
        """Runs the body while no other process works in this folder, after removing what killed ones left half-written.

        Raises:
          ConfigError: another one does (the message names it), or the folder cannot be written to.
        """
        with ExitStack() as stack:
            if is_first():
                self._lock(stack)
                self._remove_leftovers()
            wait_for_all("workdir")
            yield

    def _lock(self, stack: ExitStack) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_process(self.root / ".lock", description=_who()))
        except InUseError as error:
            raise UserError(
                f"--workdir={self.root} is in use by {error.description or 'another process'}. Two runs in one folder "
                "would spoil each other's results: wait for it to end, stop it, or use another folder."
            ) from error
        except (NotADirectoryError, FileExistsError) as error:
            raise UserError(f"--workdir={self.root} is no folder, but a file or in one") from error

    def _remove_leftovers(self) -> None:
        for folder in FOLDERS.values():
            for parent, folders, names in os.walk(self.root / folder):
                for name in [one for one in folders if one.endswith(TEMPORARY) or ".orbax-checkpoint-tmp" in one]:
                    shutil.rmtree(os.path.join(parent, name))
                    folders.remove(name)
                for name in names:
                    if name.endswith((TEMPORARY, f"{TEMPORARY}.npy")):
                        os.unlink(os.path.join(parent, name))

    def save_config(self, config) -> None:
        """Writes `config.json`: every setting of the newest run here, its command and versions."""
        facts = {
            "command": command_line(),
            "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "versions": {"sdeseg_jax": sdeseg_jax.__version__, "python": platform.python_version(),
                         "jax": jax.__version__},
            "devices": jax.device_count(),
        }  # fmt: skip
        write_json(self.root / "config.json", {**facts, "config": to_json(config)})

    def borrows(self, stage: str) -> bool:
        """Whether a stage's results are another run's: there is nothing to compute."""
        return stage in self.borrowed

    def folder(self, stage: str) -> pathlib.Path:
        """Where a stage's results lie."""
        return self.borrowed[stage][0] if self.borrows(stage) else self.root / FOLDERS[stage]

    def record(self, stage: str) -> dict | None:
        """What `stage.json` says: {"config", "finished", "seconds", "metrics"}; None before the stage started.

        Raises:
          ConfigError: it is damaged.
        """
        return None if stage in self._hidden else read_record(self.folder(stage))

    def labeled_ids(self, stage: str) -> list[str]:
        """Ids of the annotated frames of a training, "baseline" or "train".

        Raises:
          ConfigError: their file is missing or damaged.
        """
        try:
            return read_ids(self.folder(stage) / LABELED)
        except ValueError as error:
            raise UserError(
                f"{error}. It lists the annotated frames of the training; --job={stage} with the same --workdir writes "
                "it again, and does not repeat a training that is finished."
            ) from error

    @contextmanager
    def hiding(self, stages: Iterable[str]):
        """In it, some stages are not there: for a look at what will be once they are set aside."""
        before, self._hidden = self._hidden, frozenset(stages)
        try:
            yield
        finally:
            self._hidden = before

    def finished(self, stage: str) -> bool:
        """Whether a stage is complete."""
        record = self.record(stage)
        return bool(record and record["finished"])

    def predates(self, stage: str, others: Iterable[str]) -> bool:
        """Whether a finished stage ended before one of some others did; False where a record does not say."""
        ended = [(self.record(one) or {}).get("ended", 0.0) for one in others]
        return max(ended, default=0.0) > self.record(stage).get("ended", float("inf"))

    def require(self, stage: str, why: str) -> None:
        """Raises ConfigError, naming the job to run, if a stage that another needs is not complete."""
        if not self.finished(stage):
            if self.borrows(stage):
                folder, key = self.borrowed[stage]
                raise ConfigError(key, f"{folder} holds no finished '{stage}' (its stage.json would say so)")
            raise UserError(
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
        previous, accepted = self.record(stage), []
        if previous:
            accepted = [*previous.get("accepted", ()), *self.compare(stage, config)]
        wait_for_all(f"start of {stage}")  # until all have read the record that the first is about to replace
        continued = previous is not None and not (previous["finished"] and stage in SUMMARIES)
        record = {"stage": stage, "finished": False, "seconds": previous["seconds"] if continued else 0.0}
        record |= {"config": relevant_settings(config, stage), "command": command_line(), "devices": devices()}
        record |= {"metrics": {}, **({"accepted": accepted} if accepted else {})}
        with recorded(self.folder(stage), record) as metrics:
            yield metrics
        wait_for_all(f"end of {stage}")

    def changes(self, stage: str, config) -> list[str]:
        """A line for each setting that a stage on disk was made with otherwise.

        Args:
          config: that the stage works with, see `stage_config`.
        """
        record = self.record(stage)
        if not record:
            return []
        of_depth_alone = stage == "evaluate" and not record["metrics"].keys() & {"baseline", "method"}
        return differences(record["config"], config, stage, self.borrows(stage), of_depth_alone)

    def compare(self, stage: str, config) -> list[str]:
        """Compares a stage on disk with a config; returns the differences, if they are to be kept.

        Raises:
          ConfigError: there are differences, and they are not.
        """
        lines = self.changes(stage, config)
        if lines and self.changed != "keep":
            raise another_config(self.folder(stage), lines, self.borrowed[stage][1] if self.borrows(stage) else "")
        return lines

    def set_aside(self, stages) -> pathlib.Path:
        """Moves the folders of stages to the first free `outdated/<n>/`, and returns that."""
        number = 1
        while (target := self.root / "outdated" / str(number)).exists():
            number += 1
        wait_for_all("outdated stages")
        for stage in stages if is_first() else ():
            place = target / FOLDERS[stage]
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.root / FOLDERS[stage], place)
        wait_for_all("outdated stages are moved")
        return target

    def needs_same_devices(self, config) -> bool:
        """Whether a training has to go on with as many devices as it began with."""
        return not config.model.sync_batch_norm and self.changed != "keep"


def _who() -> str:
    """This process, for others that want the folder."""
    started = datetime.datetime.now().isoformat(" ", "minutes")
    return f"process {os.getpid()} on {platform.node()}, since {started}"


def disk_error(error: OSError, workdir: Workdir | None) -> str | None:
    """A message where an error is of the disk, not of this program."""
    problem = disk_problem(error)
    if problem is None:
        return None
    where = error.filename or (workdir.root if workdir else "writing")
    return f"{where}: {problem}. What was finished is kept; with that put right, the same command goes on."


def outdated_settings(config, workdir: Workdir, stage: str) -> list[str]:
    """Settings that a finished summary was made with otherwise, e.g. of how to score; none of other stages."""
    return changes_of_summary(workdir.record(stage)["config"], config, stage) if stage in SUMMARIES else []


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
    workdir.compare(stage, stage_config(config, stage))
