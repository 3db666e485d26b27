"""What `select_labels` chooses among, and what it takes for annotated; checks that need no computation."""

import dataclasses
import pathlib

import jax
import numpy as np

from sdeseg_jax.config import ConfigError, UserError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.runs import build_networks, crop_and_batch_checks, labeled_frames
from sdeseg_jax.runs.stage_order import stages_before_selection
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.selection.annotation_schedule import Step, plan, schedule_up_to
from sdeseg_jax.storage.json_files import read_json
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.initialization import check_init


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The frames of a selection.

    Attributes:
      frames: record indices of all frames that take part, sorted; places below count in this.
      is_candidate: bool per place: may be chosen.
      existing: places of the frames that are annotated before, in their given order.
      steps: what is to be chosen.
    """

    frames: np.ndarray
    is_candidate: np.ndarray
    existing: np.ndarray
    steps: list[Step]


def find_candidates(config, dataset: FrameDataset) -> Candidates:
    """Finds out what there is to choose from, and plans the steps.

    Raises:
      ConfigError: there is nothing to choose from, less than is asked for, or `config.selection.existing` is wrong.
    """
    selection = config.selection
    existing = existing_frames(config, dataset)
    candidates = candidate_frames(config, dataset)
    free = np.setdiff1d(candidates, existing)
    first, last = selection.schedule[0], selection.schedule[-1]
    where = f"{dataset.name}/{dataset.split}"
    beside = f" beside the {len(existing)} of config.selection.existing" if len(existing) else ""
    if len(free) < last:
        raise ConfigError(
            "selection.schedule",
            f"{where} has {len(free)} frames to choose from{beside}, fewer than the {last} "
            "that are asked for"
            + (
                " (the ends of clips do not count). "
                if selection.candidates == "all"
                else " (those with a label: config.selection.candidates = 'annotated'). "
            )
            + _what_fits(config, len(free), len(existing)),
        )
    frames = np.union1d(candidates, existing)
    steps = plan(selection.method, selection.schedule, selection.student_steps, len(existing))
    if any(step.score for step in steps):
        smallest = len(existing) or first
        if smallest < selection.batch_size:
            raise ConfigError(
                "selection.batch_size",
                f"the first student would learn from {smallest} frames, fewer than a batch of {selection.batch_size}",
            )
        crop_and_batch_checks.check_devices(config, "selection.batch_size")
    return Candidates(frames, np.isin(frames, free), np.searchsorted(frames, existing), steps)


def _what_fits(config, free: int, existing: int) -> str:
    """How to ask for all frames that there are to choose from, beside those that are annotated before."""
    if not free:
        return "None is left to choose"
    steps = schedule_up_to(free, config.selection.schedule)
    flags = f"--config.selection.schedule={','.join(map(str, steps))}"
    if config.data.labels_from == "selection" and config.data.labels - existing not in steps:
        flags += f" --config.data.labels={existing + free}"
    argument = f"annotate={free} in the arguments of configs/folder.py, or " if config.data.name == "folder" else ""
    return f"The most is {free}: {argument}{flags}"


def existing_frames(config, dataset: FrameDataset) -> np.ndarray:
    """Record indices of what is annotated before, see `config.selection.existing`.

    Raises:
      ConfigError: the file cannot be read, has ids that are not in the dataset, one twice, or one of a frame that is
        there as a neighbour only; or "entropy" should learn from a frame without a label.
    """
    existing = config.selection.existing
    if not existing:
        return np.zeros(0, np.int64)
    if existing == "annotated":
        return dataset.index.labeled
    frames = labeled_frames.listed_frames(dataset, existing, "selection.existing")
    wanted, what = dataset.index.targets, "are there as neighbours of others only"
    if config.selection.method == "entropy":
        wanted, what = dataset.index.labeled, "have no label that 'entropy' could learn from"
    wrong = np.setdiff1d(frames, wanted)
    if len(wrong):
        raise ConfigError(
            "selection.existing", f"{existing}: {len(wrong)} frames {what}, e.g. '{dataset.index.ids[wrong[0]]}'"
        )
    return frames


def candidate_frames(config, dataset: FrameDataset) -> np.ndarray:
    """Record indices of frames that may be chosen.

    Raises:
      ConfigError: there are none, or no labels of those that "entropy" chooses.
    """
    index, where = dataset.index, f"{dataset.name}/{dataset.split}"
    if config.selection.candidates == "annotated":
        if not len(index.labeled):
            raise ConfigError(
                "selection.candidates",
                f"'annotated' simulates an annotator, but {where} has no labels; to "
                "choose frames that you will annotate, set it to 'all'",
            )
        return labeled_frames.label_candidates(config, dataset)
    if config.selection.method == "entropy":
        raise ConfigError(
            "selection.method",
            "'entropy' learns from the labels of what it chose before; it needs "
            "config.selection.candidates = 'annotated'",
        )
    if config.segmentation.multitask:
        return index.with_neighbours
    alone = np.flatnonzero(~index.has_previous & ~index.has_next & ~index.is_context)
    frames = np.union1d(index.with_neighbours, alone)
    return frames if len(frames) else index.targets


def check_selection(config, dataset: FrameDataset, workdir: Workdir) -> Candidates:
    """Finds out whether `select_labels` can do what the config asks for: days may lie before it.

    Raises:
      ConfigError: as `find_candidates` and `check_unchanged`; the images do not suit the student, or its settings are
        wrong; there are several hosts.
      CheckpointError: weights that students should start from are missing, or do not fit.
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
            check_init(network, config.data.crop, config.selection.init, "selection.init")
    return found


def frames_file(workdir: Workdir) -> pathlib.Path:
    """Where a selection keeps what it was begun with."""
    return workdir.folder("select_labels") / "frames.json"


def begun_with(config, dataset: FrameDataset, found: Candidates, workdir: Workdir) -> dict:
    """What a selection depends on beside the config, for `frames_file`: frames, and the depth network."""
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
    """Raises ConfigError if a selection was begun in the workdir that this one could not go on with."""
    record, path = workdir.record("select_labels"), frames_file(workdir)
    if not record or not path.exists():
        return
    stored, now = record["config"]["selection.schedule"], list(config.selection.schedule)
    both = min(len(stored), len(now))
    if stored[:both] != now[:both]:
        raise ConfigError(
            "selection.schedule",
            f"{path.parent} follows {tuple(stored)}, now {tuple(now)}: a selection can be "
            "continued, not changed; use another --workdir",
        )
    before, after = _read_begun_with(path), begun_with(config, dataset, found, workdir)
    for key, what in (
        ("existing", "what was annotated before"),
        ("candidates", "the frames to choose from"),
        ("frames", "the frames"),
        ("depth_network", "the depth network"),
    ):
        if before[key] != after[key]:
            raise UserError(
                f"{what} changed since the selection in {path.parent} was begun; use another --workdir "
                "(--config.depth.workdir lends it the depth network of this one), or remove that folder"
            )


def _read_begun_with(path: pathlib.Path) -> dict:
    try:
        content = read_json(path)
        return {key: content[key] for key in ("existing", "candidates", "frames", "depth_network")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}): it cannot be told whether the selection can go on. Remove {path.parent} to "
            "choose anew, or use another --workdir"
        ) from error


def has_all_steps(config, workdir: Workdir) -> bool:
    """Whether a selection is finished as far as the schedule goes now, and no step's list is gone."""
    if not workdir.finished("select_labels"):
        return False
    folder, chosen = workdir.folder("select_labels"), workdir.record("select_labels")["metrics"]["labels"]
    return all(str(n) in chosen and (folder / f"{n}.json").exists() for n in config.selection.schedule)


def check_chosen_later(config, dataset: FrameDataset) -> None:
    """Raises ConfigError if the labels that `train` will ask a selection for are none of its steps."""
    found = find_candidates(config, dataset)
    sizes = [len(found.existing) + step.size for step in found.steps]
    if config.data.labels not in sizes:
        raise ConfigError(
            "data.labels",
            f"config.selection.schedule leads to {', '.join(map(str, sizes))} annotated frames, "
            f"not {config.data.labels}",
        )
    if config.selection.candidates != "annotated":
        raise ConfigError(
            "data.labels_from",
            "training cannot follow on a selection among 'all' frames: annotate the chosen "
            "ones, prepare the dataset again, and train with the selection as config.data.labels_file",
        )
    # Any candidates do for this check.
    free = found.frames[found.is_candidate][: config.data.labels - len(found.existing)]
    labeled_frames.check_labeled(config, dataset, np.concatenate([found.frames[found.existing], free]))
