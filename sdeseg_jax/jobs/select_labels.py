"""Job `select_labels`: which frames to annotate (Sec. 3.2, Algorithm 1), into `selection/`."""

import json
import logging
import math
import pathlib
import shutil

import numpy as np

from sdeseg_jax.config import UserError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.jobs.selecting.compute_features import frame_features
from sdeseg_jax.jobs.selecting.farthest_point_multi_device import Coverage
from sdeseg_jax.jobs.selecting.selection_files import SelectionFiles
from sdeseg_jax.jobs.selecting.student_training import Students
from sdeseg_jax.jobs.train import stored_disparities
from sdeseg_jax.runs import open_datasets
from sdeseg_jax.runs.config_per_stage import relevant_settings
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.random_label_draw import shuffled
from sdeseg_jax.runs.required_stages import stages_before_selection
from sdeseg_jax.runs.selection_candidates import (
    Candidates,
    check_selection,
    frames_file,
    has_all_steps,
    selection_inputs,
)
from sdeseg_jax.runs.workdir import Workdir, check_stage
from sdeseg_jax.selection.annotation_schedule import Step
from sdeseg_jax.selection.select_frames import pick_priority
from sdeseg_jax.selection.uncertainty import highest_scores

log = logging.getLogger(__name__)


class Selection:
    """The state of Algorithm 1: the frames annotated so far, and what choosing the next ones needs."""

    def __init__(self, config, dataset: FrameDataset, found: Candidates, workdir: Workdir):
        self._config, self._dataset, self._found, self._workdir = config, dataset, found, workdir
        self.folder = workdir.folder("select_labels")
        self._priority = pick_priority(len(found.frames), config.seed)
        self.annotated = list(found.existing)
        self.features = self._coverage = self._students = None
        self._covered = 0  # number of `annotated` frames that were passed to `_coverage`
        if any(step.coverage for step in found.steps):
            self.features = frame_features(config, dataset, found.frames, workdir)

    def annotate(self, places: np.ndarray) -> None:
        """Marks frames that an earlier run chose as annotated."""
        self.annotated += list(places)

    def choose(self, step: Step) -> list[dict]:
        """Chooses the frames of a step; returns their entries for `<n>.json`."""
        scores = self._scores(step) if step.score else None
        if step.coverage:
            picks = self._choose_by_coverage(step, scores)
        elif scores is not None:
            taken = self._taken()
            order, tied = highest_scores(np.where(taken, -np.inf, scores), self._priority, step.count)
            picks = [_pick(i, step, scores[i], uncertainty=scores[i], tied=n) for i, n in zip(order, tied, strict=True)]
            self._add_errors(step, picks, scores)
        else:
            picks = [_pick(i, step) for i in self._random_order()[: step.count]]
        self.annotated += [pick["place"] for pick in picks]
        return [{"id": self._id(pick.pop("place"))} | pick for pick in picks]

    def _choose_by_coverage(self, step: Step, scores: np.ndarray | None) -> list[dict]:
        if self._coverage is None:
            self._coverage = Coverage(self.features, self._priority, self._found.is_candidate)
        self._coverage.annotate(np.array(self.annotated[self._covered :], np.int32))
        weight = self._config.selection.error_weight
        term = np.zeros(len(self._priority)) if scores is None else weight * scores
        picks = self._coverage.choose(step.count, term)
        self._covered = len(self.annotated) + step.count
        rows = zip(picks.index, picks.criterion, picks.distance, picks.tied, strict=True)
        out = [
            _pick(i, step, criterion, distance, term[i] if scores is not None else None, tied)
            for i, criterion, distance, tied in rows
        ]
        self._add_errors(step, out, scores)
        return out

    @staticmethod
    def _add_errors(step: Step, picks: list[dict], scores: np.ndarray | None) -> None:
        if step.score == "student_error":
            for pick in picks:
                pick["student_error"] = float(scores[pick["place"]])

    def _scores(self, step: Step) -> np.ndarray:
        """Returns scores of all frames from a network trained on the annotated ones; stores them, as they take long."""
        folder = self.folder / "students" / str(len(self.annotated))
        path = folder / "scores.npy"
        if path.exists():
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            return np.load(path)
        if self._students is None or self._students.kind != step.score:
            self._students = Students(step.score, self._config, self._dataset, self._workdir)
        variables = self._students.train(self._found.frames[self.annotated], step.student_steps, folder)
        scores = self._students.score(variables, self._found.frames)
        np.save(path.with_suffix(".tmp.npy"), scores)
        path.with_suffix(".tmp.npy").replace(path)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the next student does not start from this one
        return scores

    def _taken(self) -> np.ndarray:
        taken = ~self._found.is_candidate
        taken[self.annotated] = True
        return taken

    def _random_order(self) -> np.ndarray:
        """Returns the remaining candidates in the random order of `config.data.labels`, for the same frames."""
        order = shuffled(np.flatnonzero(self._found.is_candidate), self._config.seed)
        return order[~np.isin(order, self.annotated)]

    def _id(self, place: int) -> str:
        return self._dataset.index.ids[self._found.frames[place]]


def _pick(place, step: Step, criterion=None, diversity=None, uncertainty=None, tied=1) -> dict:
    def number(value) -> float | None:
        return None if value is None or not math.isfinite(value) else float(value)

    return {
        "place": int(place),
        "step": step.size,
        "criterion": number(criterion),
        "diversity": number(diversity),
        "uncertainty": number(uncertainty),
        "tied": int(tied) if criterion is None or math.isfinite(criterion) else 1,
    }


def run_job(config, workdir: Workdir) -> None:
    """Chooses frames; resumes after the last finished step of the schedule.

    Raises:
      UserError: a stage that it needs is not finished, there are too few frames, or `config.selection` is wrong.
    """
    dataset = open_datasets.open_training(config)
    found = check_selection(config, dataset, workdir)
    if has_all_steps(config, workdir):
        check_stage(config, workdir, "select_labels")
        log.info("%s is finished", workdir.folder("select_labels"))
        return
    for stage, why in stages_before_selection(config).items():
        workdir.require(stage, why)
        check_stage(config, workdir, stage)
    if "estimate_depth" in stages_before_selection(config):
        stored_disparities(workdir, "estimate_depth", dataset, found.frames)
    with workdir.stage("select_labels", config) as metrics:
        write_json(frames_file(workdir), selection_inputs(config, dataset, found, workdir))
        selection = Selection(config, dataset, found, workdir)
        files, picks = SelectionFiles(config, dataset, found, selection.folder), []
        for number, step in enumerate(found.steps):
            path = selection.folder / f"{step.size}.json"
            # A list that is missing is a part of the lists of later steps.
            later = [(selection.folder / f"{one.size}.json", one) for one in found.steps[number:]]
            stored = next(((at, one) for at, one in later if at.exists()), None)
            if stored:
                new = _read_step(*stored, picks)[: step.count]
                chosen = dataset.positions([pick["id"] for pick in new])
                selection.annotate(np.searchsorted(found.frames, chosen))
            else:
                new = selection.choose(step)
            picks += new
            if not path.exists():
                _write_step(path, config, dataset, found, picks)
            files.write(step.size, picks, selection.features)
        tied = sum(pick["tied"] > 1 for pick in picks)
        if tied:
            log.warning(
                f"{tied} of {len(picks)} frames were chosen by the seed among frames with an equal criterion "
                f"(see 'tied' in {path}): are images repeated, or has depth collapsed?"
            )
        metrics |= {
            "method": config.selection.method,
            "candidates": int(found.is_candidate.sum()),
            "existing": len(found.existing),
            "labels": {str(step.size): len(found.existing) + step.size for step in found.steps},
            "tied": tied,
        }
    last = selection.folder / str(found.steps[-1].size)
    log.info("%d frames are chosen: see %s.json, and the pictures in %s/", len(picks), last, last)


def _write_step(path: pathlib.Path, config, dataset: FrameDataset, found: Candidates, picks: list[dict]) -> None:
    before = [dataset.index.ids[i] for i in found.frames[found.existing]]
    write_json(
        path,
        {
            "dataset": dataset.name,
            "split": dataset.split,
            "seed": config.seed,
            "method": config.selection.method,
            "existing": len(before),
            "ids": before + [pick["id"] for pick in picks],
            "picks": picks,
            "config": relevant_settings(config, "select_labels"),
        },
    )


def _read_step(path: pathlib.Path, step: Step, before: list[dict]) -> list[dict]:
    """Returns the picks of one finished step.

    Args:
      path: file with the step's list.
      step: as planned.
      before: picks of the steps before it.

    Raises:
      UserError: the file is damaged.
    """
    problem = "its frames do not match its step and the lists of earlier steps"
    try:
        content = json.loads(path.read_text())
        picks, ids = content["picks"], content["ids"]
        whole = len(picks) == step.size and ids[content["existing"] :] == [pick["id"] for pick in picks]
        if whole and picks[: len(before)] == before:
            return picks[len(before) :]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = repr(error)
    raise UserError(f"{path} is damaged: {problem}. Remove it and the lists of later steps to choose them again")
