"""Which training frames count as annotated: drawn by (seed, n), listed in a file, or selected."""

import logging
import pathlib

import numpy as np

from sdeseg_jax.config import ConfigError, UserError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.runs.crop_and_batch_checks import advice_for_few_frames
from sdeseg_jax.runs.frame_id_files import read_ids
from sdeseg_jax.runs.random_label_draw import random_subset
from sdeseg_jax.runs.workdir import Workdir, check_stage

log = logging.getLogger(__name__)


def labeled_frames(config, dataset: FrameDataset, workdir: Workdir) -> np.ndarray:
    """Returns the indices of the annotated training frames, the same for baseline and method.

    Raises:
      ConfigError: more are requested than exist, the file is wrong, or a batch needs more.
      UserError: the selection is missing, or was made with other settings.
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
                f"{config.data.labels} labelled frames are requested, but only {len(candidates)} training frames have "
                f"a label{_left_out(config, dataset)}",
            )
        chosen = random_subset(candidates, config.data.labels, config.seed)
    check_labeled(config, dataset, chosen)
    return chosen


def listed_frames(dataset: FrameDataset, file: str | pathlib.Path, key: str) -> np.ndarray:
    """Returns the indices of the frames that a JSON file lists, in its order.

    Args:
      dataset: to look the ids up in.
      file: see `read_ids`.
      key: setting that names the file.

    Raises:
      ConfigError: the file cannot be read, or lists a frame twice or one that is not in the dataset.
    """
    ids = listed_ids(file, key)
    try:
        return dataset.positions(ids)
    except ValueError as error:
        raise ConfigError(key, f"{file}: {error}") from error


def listed_ids(file: str | pathlib.Path, key: str) -> list[str]:
    """Returns the frame ids in a JSON file. Raises ConfigError of `key` if it cannot be read."""
    try:
        return read_ids(file)
    except ValueError as error:
        raise ConfigError(key, str(error)) from error


def selection_file(workdir: Workdir, labels: int) -> pathlib.Path:
    """Returns the file with the selection of `labels` frames in total.

    Raises:
      ConfigError: no step of the selection has that many.
      UserError: the file is missing.
    """
    steps, folder = workdir.record("select_labels")["metrics"]["labels"], workdir.folder("select_labels")
    size = next((size for size, total in steps.items() if total == labels), None)
    if size is None:
        listed = ", ".join(map(str, steps.values()))
        raise ConfigError(
            "data.labels", f"{folder} holds selections of {listed} frames, not {labels}; see config.selection.schedule"
        )
    if not (path := folder / f"{size}.json").exists():
        raise UserError(f"{path} is missing; --job=select_labels writes it again")
    return path


def check_labeled(config, dataset: FrameDataset, chosen: np.ndarray) -> None:
    """Raises ConfigError if annotated frames cannot be trained on: no label, no video, fewer than a batch."""
    names = dataset.index.ids
    unlabeled = np.setdiff1d(chosen, dataset.index.labeled)
    if len(unlabeled):
        raise ConfigError("data.labels_file", f"{len(unlabeled)} frames have no label, e.g. '{names[unlabeled[0]]}'")
    video = config.segmentation.multitask and config.depth.supervision == "self"
    alone = np.setdiff1d(chosen, dataset.index.with_neighbours)
    if video and len(alone):
        drawn = not config.data.labels_file and config.data.labels_from == "random"
        remedy = "without it (--config.segmentation.multitask=False) they can be used"
        if drawn and config.data.label_candidates == "all" and len(_in_video(dataset)):
            remedy = "--config.data.label_candidates=video leaves them out"
        raise ConfigError(
            "data.labels_file" if config.data.labels_file else "data.name",
            f"{len(alone)} labelled frames of {dataset.name} have no frame before or after them in their clip, e.g. "
            f"'{names[alone[0]]}'; config.segmentation.multitask learns depth on them, which needs both; {remedy}",
        )
    if len(chosen) and not len(unlabeled) and not dataset.has_annotated_pixels(chosen):
        raise ConfigError(
            "data.labels_file" if config.data.labels_file else "data.name",
            f"the labels of all {len(chosen)} annotated frames of {dataset.name}/{dataset.split} are void: no pixel "
            f"has a class of {dataset.classes.protocol}, so there is nothing to learn. Look at the label files, and at "
            "the values in classes.json; then prepare the dataset again",
        )
    if len(chosen) < config.segmentation.batch_size:
        raise ConfigError(
            "data.labels",
            f"{len(chosen)} labelled frames are fewer than a batch "
            f"(config.segmentation.batch_size = {config.segmentation.batch_size}). "
            + advice_for_few_frames(config, "segmentation.batch_size", len(chosen)),
        )


def label_candidates(config, dataset: FrameDataset) -> np.ndarray:
    """Returns the indices of the annotated frames to choose from, see `config.data.label_candidates`."""
    in_video = _in_video(dataset)
    return in_video if config.data.label_candidates == "video" and len(in_video) else dataset.index.labeled


def _in_video(dataset: FrameDataset) -> np.ndarray:
    """Returns the indices of the annotated frames with both neighbours."""
    return np.intersect1d(dataset.index.labeled, dataset.index.with_neighbours)


def _left_out(config, dataset: FrameDataset) -> str:
    """Returns how many annotated frames are not candidates, as the end of a message; "" if all are."""
    number = len(dataset.index.labeled) - len(label_candidates(config, dataset))
    if not number:
        return ""
    return (
        f"; {number} more have no frame before or after them in their clip and are left out "
        "(config.data.label_candidates = 'video')"
    )


def warn_of_unused_labels(config, dataset: FrameDataset) -> None:
    """Logs a warning if all labels are requested, but some annotated frames are not candidates."""
    left_out = _left_out(config, dataset)
    if left_out and not (config.data.labels or config.data.labels_file):
        used = len(label_candidates(config, dataset))
        log.warning("%s: %d annotated frames are used%s", dataset.name, used, left_out)
