"""The workdir: fixed folders for the results of stages, and records of the config that each was made with."""

import datetime
import os
import pathlib
import platform
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, contextmanager

import jax

import sdeseg_jax
from sdeseg_jax.config import ConfigError, UserError, to_json
from sdeseg_jax.runs import config_per_stage
from sdeseg_jax.runs.config_per_stage import SUMMARIES
from sdeseg_jax.runs.finished_stage_records import command_line, devices, read_record, recorded, write_json
from sdeseg_jax.runs.frame_id_files import read_ids
from sdeseg_jax.storage.atomic_files import TEMPORARY
from sdeseg_jax.storage.disk_errors import disk_problem
from sdeseg_jax.storage.process_lock import InUseError, only_process
from sdeseg_jax.training.multi_host import is_first, wait_for_all

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
"""File in a training's folder: the ids of its annotated frames."""


class Workdir:
    """A run's folder.

    Attributes:
      root: where the run writes.
      changed: what to do with stages that were made with another config: "refuse", "keep" or "redo" them.
      borrowed: stage -> (its folder in another run, the setting that names it).
    """

    def __init__(self, root: str | pathlib.Path, config=None, changed: str = "refuse"):
        """Names a folder, which need not exist.

        Args:
          config: names other runs whose stages are used; None if there are none.
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
        """Runs the body while no other process works in this folder; first removes incomplete files of killed ones.

        Raises:
          UserError: another process works here (the message names it), or the path is not a folder.
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
                "would overwrite each other's results: wait for it to end, stop it, or use another folder."
            ) from error
        except (NotADirectoryError, FileExistsError) as error:
            raise UserError(f"--workdir={self.root} is not a folder, but a file or inside one") from error

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
        versions = {"sdeseg_jax": sdeseg_jax.__version__, "python": platform.python_version(), "jax": jax.__version__}
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        facts = {"command": command_line(), "started": now, "versions": versions, "devices": jax.device_count()}
        write_json(self.root / "config.json", {**facts, "config": to_json(config)})

    def borrows(self, stage: str) -> bool:
        """Whether a stage's results belong to another run, so that there is nothing to compute."""
        return stage in self.borrowed

    def folder(self, stage: str) -> pathlib.Path:
        """Returns the folder of a stage's results."""
        return self.borrowed[stage][0] if self.borrows(stage) else self.root / FOLDERS[stage]

    def record(self, stage: str) -> dict | None:
        """Returns `stage.json`: {"config", "finished", "seconds", "metrics", …}; None before the stage started.

        Raises:
          UserError: the file is damaged.
        """
        return None if stage in self._hidden else read_record(self.folder(stage))

    def labeled_ids(self, stage: str) -> list[str]:
        """Returns the ids of the annotated frames of a training, "baseline" or "train".

        Raises:
          UserError: their file is missing or damaged.
        """
        try:
            return read_ids(self.folder(stage) / LABELED)
        except ValueError as error:
            raise UserError(
                f"{error}. It lists the annotated frames of the training; --job={stage} with the same --workdir writes "
                "it again without repeating a finished training."
            ) from error

    @contextmanager
    def hiding(self, stages: Iterable[str]):
        """Runs the body as if some stages did not exist, to check what follows once they are set aside."""
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
        """Whether a finished stage ended before one of the others; False if a record does not say."""
        ended = [(self.record(one) or {}).get("ended", 0.0) for one in others]
        return max(ended, default=0.0) > self.record(stage).get("ended", float("inf"))

    def require(self, stage: str, why: str, key: str = "") -> None:
        """Raises an error that names the job to run, if a stage that another one needs is not finished.

        Args:
          why: what needs the stage; the message starts with it.
          key: setting to blame; "" for a UserError. A borrowed stage blames the setting that names its run.
        """
        if self.finished(stage):
            return
        if self.borrows(stage):
            folder, lender = self.borrowed[stage]
            raise ConfigError(lender, f"{folder} holds no finished '{stage}', according to its stage.json")
        problem = f"{why}, but {self.folder(stage)} holds no finished '{stage}'."
        advice = f"Run it first: --job={stage} with the same --config and --workdir"
        if key:
            raise ConfigError(key, f"{problem} {advice}, or add it to {{flag}}.")
        raise UserError(f"{problem} {advice} (or --job=pipeline for all stages).")

    @contextmanager
    def stage(self, stage: str, config):
        """Runs the body as a stage: compares the config with an earlier start, and records time and metrics.

        Yields a dict, which the body fills with metrics.

        Raises:
          UserError: the folder was made with other settings; the message shows the differences.
        """
        previous, accepted = self.record(stage), []
        if previous:
            accepted = [*previous.get("accepted", ()), *self.compare(stage, config)]
        wait_for_all(f"start of {stage}")  # all have read the record, which the first replaces now
        continued = previous is not None and not (previous["finished"] and stage in SUMMARIES)
        record = {"stage": stage, "finished": False, "seconds": previous["seconds"] if continued else 0.0}
        record |= {"config": config_per_stage.relevant_settings(config, stage), "command": command_line()}
        record |= {"devices": devices(), "metrics": {}, **({"accepted": accepted} if accepted else {})}
        with recorded(self.folder(stage), record) as metrics:
            yield metrics
        wait_for_all(f"end of {stage}")

    def changes(self, stage: str, config) -> list[str]:
        """Returns a line for each setting that differs from those that a stage on disk was made with.

        Args:
          config: that the stage works with, see `stage_config`.
        """
        record = self.record(stage)
        if not record:
            return []
        depth_only = stage == "evaluate" and not record["metrics"].keys() & {"baseline", "method"}
        return config_per_stage.differences(record["config"], config, stage, self.borrows(stage), depth_only)

    def compare(self, stage: str, config) -> list[str]:
        """Returns the differences between a stage on disk and a config, if `changed` is "keep".

        Raises:
          UserError: there are differences, and `changed` has another value.
        """
        lines = self.changes(stage, config)
        if lines and self.changed != "keep":
            lender = self.borrowed[stage][1] if self.borrows(stage) else ""
            raise config_per_stage.another_config(self.folder(stage), lines, lender)
        return lines

    def set_aside(self, stages) -> pathlib.Path:
        """Moves the folders of stages to the first free `outdated/<n>/`, and returns it."""
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
        """Whether a training has to resume with as many devices as it started with."""
        return not config.model.sync_batch_norm and self.changed != "keep"


def _who() -> str:
    """Describes this process for others that want the folder."""
    started = datetime.datetime.now().isoformat(" ", "minutes")
    return f"process {os.getpid()} on {platform.node()}, since {started}"


def disk_error(error: OSError, workdir: Workdir | None) -> str | None:
    """Returns a message if the disk caused an error, else None."""
    problem = disk_problem(error)
    if problem is None:
        return None
    where = error.filename or (workdir.root if workdir else "writing")
    return f"{where}: {problem}. Finished work is kept: once this is solved, the same command resumes."


def outdated_settings(config, workdir: Workdir, stage: str) -> list[str]:
    """Returns a line for each setting, also of scoring, that a finished summary was not made with; [] for others."""
    if stage not in SUMMARIES:
        return []
    return config_per_stage.changes_of_summary(workdir.record(stage)["config"], config, stage)


def check_borrowed(config, workdir: Workdir, stage: str) -> bool:
    """Returns whether a stage belongs to another run, and checks that it is finished and fits this run.

    Raises:
      ConfigError: it does not.
    """
    if workdir.borrows(stage):
        workdir.require(stage, workdir.borrowed[stage][1])
        check_stage(config, workdir, stage)
    return workdir.borrows(stage)


def check_stage(config, workdir: Workdir, stage: str) -> None:
    """Raises UserError with the differences if a stage on disk was made with other settings than the run's config."""
    workdir.compare(stage, config_per_stage.stage_config(config, stage))
