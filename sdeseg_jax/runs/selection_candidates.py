"""What `select_labels` chooses among, and what counts as annotated; checks that need no computation."""

import dataclasses
import pathlib

import jax
import numpy as np

from sdeseg_jax.config import ConfigError, UserError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.runs import build_networks, crop_and_batch_checks, initial_weights, labeled_frames
from sdeseg_jax.runs.required_stages import stages_before_selection
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.selection.annotation_schedule import Step, plan, schedule_up_to
from sdeseg_jax.storage.json_files import read_json
from sdeseg_jax.training.checkpoints import Checkpoints


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The frames of a selection.

    Attributes:
      frames: record indices of all frames that take part, sorted; a place below is an index into it.
      is_candidate: bool per place: may be chosen.
      existing: places of the frames that are already annotated, in their given order.
      steps: of the selection.
    """

    frames: np.ndarray
    is_candidate: np.ndarray
    existing: np.ndarray
    steps: list[Step]


def find_candidates(config, dataset: FrameDataset) -> Candidates:
    """Finds the frames to choose from, and plans the steps.

    Raises:
      ConfigError: there are fewer frames to choose from than requested, or `config.selection.existing` is wrong.
    """
    selection = config.selection
    existing, candidates = existing_frames(config, dataset), candidate_frames(config, dataset)
    free = np.setdiff1d(candidates, existing)
    if len(free) < (last := selection.schedule[-1]):
        beside = f" beside the {len(existing)} of config.selection.existing" if len(existing) else ""
        which = "those with a label: config.selection.candidates = 'annotated'"
        if selection.candidates == "all":
            which = "the ends of clips do not count"
        raise ConfigError(
            "selection.schedule",
            f"{dataset.name}/{dataset.split} has {len(free)} frames to choose from{beside}, fewer than the {last} "
            f"requested ({which}). {_largest_selection(config, len(free), len(existing))}",
        )
    frames = np.union1d(candidates, existing)
    steps = plan(selection.method, selection.schedule, selection.student_steps, len(existing))
    if any(step.score for step in steps):
        smallest = len(existing) or selection.schedule[0]
        if smallest < selection.batch_size:
            raise ConfigError(
                "selection.batch_size",
                f"the first student would learn from {smallest} frames, fewer than a batch of {selection.batch_size}. "
                + crop_and_batch_checks.advice_for_few_frames(config, "selection.batch_size", smallest),
            )
        crop_and_batch_checks.check_batch(config, "selection.batch_size")
    return Candidates(frames, np.isin(frames, free), np.searchsorted(frames, existing), steps)


def _largest_selection(config, free: int, existing: int) -> str:
    """Returns advice on how to select all `free` candidates beside the `existing` annotated frames."""
    if not free:
        return "None is left to choose"
    steps = schedule_up_to(free, config.selection.schedule)
    flags = f"--config.selection.schedule={','.join(map(str, steps))}"
    if config.data.labels_from == "selection" and config.data.labels - existing not in steps:
        flags += f" --config.data.labels={existing + free}"
    argument = f"annotate={free} in the arguments of configs/folder.py, or " if config.data.name == "folder" else ""
    return f"To choose all {free}: {argument}{flags}"


def existing_frames(config, dataset: FrameDataset) -> np.ndarray:
    """Returns the record indices of the frames that are already annotated, see `config.selection.existing`.

    Raises:
      ConfigError: the file cannot be read, has an id twice or one that is not in the dataset or only a neighbour of
        other frames; or "entropy" would have to learn from a frame without a label.
    """
    existing = config.selection.existing
    if not existing:
        return np.zeros(0, np.int64)
    if existing == "annotated":
        return dataset.index.labeled
    frames = labeled_frames.listed_frames(dataset, existing, "selection.existing")
    wanted, what = dataset.index.targets, "are only neighbours of other frames"
    if config.selection.method == "entropy":
        wanted, what = dataset.index.labeled, "have no label that 'entropy' could learn from"
    wrong = np.setdiff1d(frames, wanted)
    if len(wrong):
        raise ConfigError(
            "selection.existing", f"{existing}: {len(wrong)} frames {what}, e.g. '{dataset.index.ids[wrong[0]]}'"
        )
    return frames


def candidate_frames(config, dataset: FrameDataset) -> np.ndarray:
    """Returns the record indices of the frames that may be chosen.

    Raises:
      ConfigError: "annotated" or "entropy" lack labels.
    """
    index = dataset.index
    if config.selection.candidates == "annotated":
        if not len(index.labeled):
            raise ConfigError(
                "selection.candidates",
                f"'annotated' simulates an annotator, but {dataset.name}/{dataset.split} has no labels; to choose "
                "frames that you will annotate, use {flag}=all",
            )
        return labeled_frames.label_candidates(config, dataset)
    if config.selection.method == "entropy":
        raise ConfigError(
            "selection.method",
            "'entropy' learns from the labels of what it chose before; use --config.selection.candidates=annotated",
        )
    if config.segmentation.multitask:
        return index.with_neighbours
    alone = np.flatnonzero(~index.has_previous & ~index.has_next & ~index.is_context)
    frames = np.union1d(index.with_neighbours, alone)
    return frames if len(frames) else index.targets


def check_selection(config, dataset: FrameDataset, workdir: Workdir) -> Candidates:
    """Checks that `select_labels` can do what the config requests; days may pass before it starts.

    Raises:
      ConfigError: as `find_candidates` and `check_unchanged`; the images do not suit the student, or its settings are
        wrong, or its initial weights are missing.
      UserError: as `check_unchanged`; there are several hosts.
      CheckpointError: the student's initial weights do not fit.
    """
    if jax.process_count() > 1:
        raise UserError("select_labels runs on one host, on all of its devices; start it with a single process")
    found = find_candidates(config, dataset)
    check_unchanged(config, dataset, found, workdir)
    crop_and_batch_checks.check_images(config, dataset)
    if any(step.score for step in found.steps):
        try:
            network = build_networks.student_network(config, segmentation=config.selection.method == "entropy")
        except ValueError as error:
            raise ConfigError("selection.student", f"{error}") from error
        if not has_all_steps(config, workdir):
            own = config.selection
            initial_weights.check(network, config.data.crop, own.student, own.init, "selection.init")
    return found


def frames_file(workdir: Workdir) -> pathlib.Path:
    """Returns the file in which a selection stores what it started with."""
    return workdir.folder("select_labels") / "frames.json"


def selection_inputs(config, dataset: FrameDataset, found: Candidates, workdir: Workdir) -> dict:
    """Returns what a selection depends on beside the config, for `frames_file`: frames and the depth network."""
    ids, network = dataset.index.ids, ""
    folder = workdir.folder("pretrain_depth") / "checkpoints"
    if stages_before_selection(config) and folder.is_dir():
        with Checkpoints(folder) as checkpoints:
            network = checkpoints.fingerprint()
    return {
        "frames": [ids[i] for i in found.frames],
        "candidates": [ids[i] for i in found.frames[found.is_candidate]],
        "existing": [ids[i] for i in found.frames[found.existing]],
        "depth_network": network,
    }


def check_unchanged(config, dataset: FrameDataset, found: Candidates, workdir: Workdir) -> None:
    """Raises ConfigError or UserError if the workdir has a selection that this one cannot continue."""
    record, path = workdir.record("select_labels"), frames_file(workdir)
    if not record or not path.exists():
        return
    stored, now = record["config"]["selection.schedule"], list(config.selection.schedule)
    if any(before != after for before, after in zip(stored, now, strict=False)):  # one may be longer
        raise ConfigError(
            "selection.schedule",
            f"{path.parent} follows {tuple(stored)}, now {tuple(now)}: a selection can be continued, not changed; use "
            "another --workdir",
        )
    before, after = _read_selection_inputs(path), selection_inputs(config, dataset, found, workdir)
    for key, what in _BEGUN_WITH.items():
        if before[key] != after[key]:
            raise UserError(
                f"{what} changed since the selection in {path.parent} was started; use another --workdir "
                "(--config.depth.workdir lends it the depth network of this one), or remove that folder"
            )


_BEGUN_WITH = {
    "existing": "the frames that are already annotated",
    "candidates": "the frames to choose from",
    "frames": "the frames",
    "depth_network": "the depth network",
}
"""Key in `frames_file` -> what it is, for messages."""


def _read_selection_inputs(path: pathlib.Path) -> dict:
    try:
        content = read_json(path)
        return {key: content[key] for key in _BEGUN_WITH}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}), so the selection may not fit this run. Remove {path.parent} to choose "
            "again, or use another --workdir"
        ) from error


def has_all_steps(config, workdir: Workdir) -> bool:
    """Whether a selection is finished for the current schedule, and has the list of every step."""
    if not workdir.finished("select_labels"):
        return False
    folder, chosen = workdir.folder("select_labels"), workdir.record("select_labels")["metrics"]["labels"]
    return all(str(n) in chosen and (folder / f"{n}.json").exists() for n in config.selection.schedule)


def check_future_selection(config, dataset: FrameDataset) -> None:
    """Raises ConfigError if a later selection will not have a step with the labels that `train` reads."""
    found = find_candidates(config, dataset)
    sizes = [len(found.existing) + step.size for step in found.steps]
    if config.data.labels not in sizes:
        raise ConfigError(
            "data.labels",
            f"config.selection.schedule leads to {', '.join(map(str, sizes))} annotated frames, not "
            f"{config.data.labels}",
        )
    if config.selection.candidates != "annotated":
        raise ConfigError(
            "data.labels_from",
            "training cannot follow a selection among 'all' frames: annotate the chosen ones, prepare the dataset "
            "again, and train with the selection as config.data.labels_file",
        )
    # The check is the same for any candidates.
    free = found.frames[found.is_candidate][: config.data.labels - len(found.existing)]
    labeled_frames.check_labeled(config, dataset, np.concatenate([found.frames[found.existing], free]))
