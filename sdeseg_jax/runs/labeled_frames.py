"""Which training frames count as annotated: drawn by (seed, n), listed in a file, or selected."""

import logging
import pathlib

import numpy as np

from sdeseg_jax.config import ConfigError, UserError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.runs.frame_id_files import read_ids
from sdeseg_jax.runs.workdir import Workdir, check_stage

log = logging.getLogger(__name__)


def labeled_frames(config, dataset: FrameDataset, workdir: Workdir) -> np.ndarray:
    """Indices of the annotated training frames, the same for baseline and method: by file, selection or (seed, n).

    Raises:
      ConfigError: more are asked for than exist, the file is wrong, the selection is not there, or a batch needs more.
    """
    if config.data.labels_from == "selection":
        workdir.require("select_labels", "config.data.labels_from = 'selection'")
        check_stage(config, workdir, "select_labels")
        chosen = listed_frames(dataset, selection_file(workdir, config.data.labels), "data.labels_from")
    elif config.data.labels_file:
        chosen = listed_frames(dataset, config.data.labels_file, "data.labels_file")
    else:
        candidates = label_candidates(config, dataset)
        if not len(candidates):
            raise ConfigError("data.name", f"no frame of {dataset.name}/{dataset.split} has a label")
        if config.data.labels > len(candidates):
            raise ConfigError(
                "data.labels",
                f"{config.data.labels} labelled frames are wanted, but only {len(candidates)} training frames have a "
                f"label{_left_out(config, dataset)}",
            )
        chosen = random_subset(candidates, config.data.labels, config.seed)
    check_labeled(config, dataset, chosen)
    return chosen


def listed_frames(dataset: FrameDataset, file: str | pathlib.Path, key: str) -> np.ndarray:
    """Indices of the frames that a JSON file lists, in its order.

    Args:
      dataset: that they are of.
      file: see `read_ids`.
      key: setting that names the file.

    Raises:
      ConfigError: the file cannot be read, or lists a frame that is not in the dataset, or one twice.
    """
    ids = listed_ids(file, key)
    try:
        return dataset.positions(ids)
    except ValueError as error:
        raise ConfigError(key, f"{file}: {error}") from error


def listed_ids(file: str | pathlib.Path, key: str) -> list[str]:
    """Ids of the frames that a JSON file lists. Raises ConfigError if it cannot be read."""
    try:
        return read_ids(file)
    except ValueError as error:
        raise ConfigError(key, str(error)) from error


def selection_file(workdir: Workdir, labels: int) -> pathlib.Path:
    """Where a selection of `labels` frames in all is stored.

    Raises:
      ConfigError: none was made.
    """
    steps = workdir.record("select_labels")["metrics"]["labels"]
    for size, total in steps.items():
        if total == labels:
            path = workdir.folder("select_labels") / f"{size}.json"
            if not path.exists():
                raise UserError(f"{path} is gone; --job=select_labels writes it again")
            return path
    raise ConfigError(
        "data.labels",
        f"{workdir.folder('select_labels')} holds selections of "
        f"{', '.join(map(str, steps.values()))} frames, not {labels}; see config.selection.schedule",
    )


def check_labeled(config, dataset: FrameDataset, chosen: np.ndarray) -> None:
    """Raises ConfigError if frames cannot be trained on as annotated ones: no label, no video, fewer than a batch."""
    names = dataset.index.ids
    unlabeled = np.setdiff1d(chosen, dataset.index.labeled)
    if len(unlabeled):
        raise ConfigError("data.labels_file", f"{len(unlabeled)} frames have no label, e.g. '{names[unlabeled[0]]}'")
    video = config.segmentation.multitask and config.depth.supervision == "self"
    alone = np.setdiff1d(chosen, dataset.index.with_neighbours)
    if video and len(alone):
        drawn = not config.data.labels_file and config.data.labels_from == "random"
        drawn = drawn and config.data.label_candidates == "all"
        some_fit = len(np.intersect1d(dataset.index.labeled, dataset.index.with_neighbours)) > 0
        remedy = (
            "--config.data.label_candidates=video leaves them out"
            if drawn and some_fit
            else "without it (--config.segmentation.multitask=False) they can be used"
        )
        raise ConfigError(
            "data.labels_file" if config.data.labels_file else "data.name",
            f"{len(alone)} labelled frames of {dataset.name} have no frame before or after them in their clip, e.g. "
            f"'{names[alone[0]]}'; config.segmentation.multitask learns depth on them and needs both; {remedy}",
        )
    if len(chosen) < config.segmentation.batch_size:
        raise ConfigError(
            "data.labels",
            f"{len(chosen)} labelled frames are fewer than a batch "
            f"(config.segmentation.batch_size = {config.segmentation.batch_size})",
        )


def label_candidates(config, dataset: FrameDataset) -> np.ndarray:
    """Annotated frames to choose from, by `config.data.label_candidates`."""
    labeled = dataset.index.labeled
    in_video = np.intersect1d(labeled, dataset.index.with_neighbours)
    return in_video if config.data.label_candidates == "video" and len(in_video) else labeled


def _left_out(config, dataset: FrameDataset) -> str:
    """Says how many annotated frames are no candidates, for messages; "" if all are."""
    number = len(dataset.index.labeled) - len(label_candidates(config, dataset))
    if not number:
        return ""
    return (
        f"; {number} more have no frame before or after them in their clip, and are left out, as "
        "config.data.label_candidates is 'video'"
    )


def warn_of_unused_labels(config, dataset: FrameDataset) -> None:
    """Logs a warning if all labels are asked for, and some are no candidates."""
    left_out = _left_out(config, dataset)
    if left_out and not (config.data.labels or config.data.labels_file):
        used = len(label_candidates(config, dataset))
        log.warning("%s: %d annotated frames are used%s", dataset.name, used, left_out)


def random_subset(candidates: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Chooses some of the candidate indices at random, sorted. The subset of n is part of that of n + 1.

    Args:
      candidates: as many as `count`, at least.
      count: how many; 0 for all.
      seed: of the choice.
    """
    return np.sort(shuffled(candidates, seed)[: count or len(candidates)])


def shuffled(candidates: np.ndarray, seed: int) -> np.ndarray:
    """The candidates in the random order that `random_subset` takes the first of."""
    return candidates[np.random.default_rng([seed, 7]).permutation(len(candidates))]
