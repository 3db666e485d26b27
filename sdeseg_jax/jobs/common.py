"""What several jobs need: datasets and networks from the config, checks against the devices."""

import logging
import pathlib
import re
from contextlib import contextmanager

import jax
import numpy as np

from sdeseg_jax.config import ConfigError, source_config, uses_matching
from sdeseg_jax.data import datasets
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.data.frames import FrameDataset
from sdeseg_jax.data.labeled_subset import random_subset, read_ids
from sdeseg_jax.jobs.workdir import Workdir, check_stage
from sdeseg_jax.models.network import Network, build_network
from sdeseg_jax.training.replication import AXIS, check_batch_size

log = logging.getLogger(__name__)


def open_split(config, split: str, key: str = "data.train_split") -> FrameDataset:
    """Opens a split of `config.data`, which the setting `key` names.

    Raises:
      ConfigError: there is no such dataset or split.
    """
    data = config.data
    options = data.options.to_dict()
    return datasets.open_split(data.name, split, data.data_dir, options, data.variant, data.protocol, key)


def open_training(config) -> FrameDataset:
    """The frames that segmentation is trained on. Raises ConfigError as `open_split`."""
    return open_split(config, config.data.train_split)


def open_video(config) -> FrameDataset:
    """The frames that depth is learned from: those of `config.video` if it names a dataset, else the training split.

    Raises:
      ConfigError: as `open_split`.
    """
    video = config.video
    if not video.name:
        return open_training(config)
    try:
        return datasets.open_split(
            video.name, video.split, config.data.data_dir, video.options.to_dict(), video.variant, key="video.split"
        )
    except ConfigError as error:
        # Where prepared datasets lie is a setting of config.data alone.
        raise ConfigError(re.sub(r"config\.data\.(?!data_dir)", "config.video.", str(error))) from error


def open_source(config) -> FrameDataset:
    """The labelled frames of the source domain, their labels in the classes of the target (Sec. 3.5).

    Raises:
      ConfigError: there is no such dataset or split, it has no labels, or other classes.
    """
    source, data, classes = config.source, config.data, class_map(config)
    try:
        return datasets.open_labels(
            source.name, source.split, classes, data.data_dir, source.options.to_dict(), source.variant
        )
    except ConfigError as error:
        raise of_source(config, error) from error


def of_source(config, error: ConfigError) -> ConfigError:
    """An error of the source domain's config, with the settings called as they are in `config.source`."""
    message, source = str(error), config.source
    renamed = {f"data.{key}": f"source.{key}" for key in ("name", "variant", "options")}
    renamed |= {"data.train_split": "source.split", "video.": "source.video."}
    for section in ("model", "depth"):
        renamed |= {f"{section}.{key}": f"source.{section}.{key}" for key in source[section]}
    for target, own in renamed.items():
        message = message.replace(f"config.{target}", f"config.{own}")
    return ConfigError(message)


@contextmanager
def source_domain(config):
    """The config of the source domain, for a job of the target's to work with; its errors name `config.source`.

    Raises:
      ConfigError: there is none.
    """
    if not config.source.name:
        raise ConfigError("config.source.name is empty: there is no source domain to learn the depth of")
    try:
        yield source_config(config)
    except ConfigError as error:
        raise of_source(config, error) from error


def source_frames(config, dataset: FrameDataset) -> np.ndarray:
    """Indices of the source frames that segmentation is trained on: all that have a label.

    Raises:
      ConfigError: there are fewer than a batch, or the candidates for one target frame, need.
    """
    frames, where = dataset.index.labeled, f"config.source: {dataset.name}/{dataset.split}"
    batch_size, candidates = config.segmentation.batch_size, config.source.n_candidates
    if len(frames) < batch_size:
        raise ConfigError(
            f"{where} has {len(frames)} labelled frames, fewer than a batch (config.segmentation.batch_size = "
            f"{batch_size})"
        )
    if uses_matching(config) and len(frames) < candidates:
        raise ConfigError(
            f"{where} has {len(frames)} labelled frames, fewer than the candidates for each target frame "
            f"(config.source.n_candidates = {candidates})"
        )
    return frames


def open_evaluation(config) -> FrameDataset | None:
    """The frames that are scored; None if the dataset has a training split only, as a user's folder may.

    Raises:
      ConfigError: the split is not there, though the dataset has others than the one that is trained on.
    """
    data = config.data
    splits = datasets.prepare(data.name, data.data_dir, data.options.to_dict(), data.variant).info.splits
    if set(splits) == {"train"} and config.evaluation.split == "validation":
        return None
    return open_split(config, config.evaluation.split, "evaluation.split")


def open_scored_labels(config, dataset: FrameDataset) -> FrameDataset:
    """The evaluation split at the size that segmentation is scored at: `dataset`, or `config.evaluation.variant` of it.

    Raises:
      ConfigError: it is not prepared, or has other frames.
    """
    data, variant = config.data, config.evaluation.variant
    if not variant:
        return dataset
    try:
        scored = datasets.open_split(
            data.name, config.evaluation.split, data.data_dir, data.options.to_dict(), variant, data.protocol,
            "evaluation.split",
        )  # fmt: skip
    except ConfigError as error:
        raise ConfigError(str(error).replace("config.data.variant", "config.evaluation.variant")) from error
    if scored.index.ids != dataset.index.ids:
        raise ConfigError(f"config.evaluation.variant: '{variant}' has other frames than the size that is trained on")
    return scored


def class_map(config) -> ClassMap:
    """The classes that are trained and scored; known before the dataset is prepared, except those of a user's folder.

    Raises:
      ConfigError: the dataset has no labels, or a folder is not prepared.
    """
    data = config.data
    classes = datasets.class_map(data.name, data.data_dir, data.variant, data.protocol)
    if classes is None:
        raise ConfigError(
            f"config.data.name: '{data.name}' has no labels; it is for learning depth (config.pipeline.stages = "
            "('pretrain_depth', 'evaluate', 'report'))"
            + (
                ". With configs/folder.py:stages=depth or stages=select it is; with labels, the folder has to be "
                "prepared anew (another --output)"
                if data.name == "folder"
                else ""
            )
        )
    return classes


def depth_network(config) -> Network:
    """Encoder and depth decoder, with the pose network unless depth is supervised."""
    pose = config.depth.supervision == "self"
    return build_network(config.model, depth=True, segmentation=False, pose=pose, axis_name=AXIS)


def segmentation_network(config, classes: int | None = None) -> Network:
    """The network of `config.segmentation`: with PAD and ego-motion if multi-task, else segmentation alone.

    Args:
      classes: their number; None for that of `config.data`.
    """
    multitask = config.segmentation.multitask
    return build_network(
        config.model,
        num_classes=classes or len(class_map(config)),
        depth=multitask,
        distillation=multitask,
        pose=multitask and config.depth.supervision == "self",
        segmentation=True,
        segmentation_head="classifier" if multitask else config.segmentation.head,
        axis_name=AXIS,
    )


def student_network(config, segmentation: bool = False) -> Network:
    """The slim network of the data selection: a depth student or, for "entropy", a segmentation network."""
    shared = {name: config.model[name] for name in ("dtype", "remat", "sync_batch_norm")}
    model = {**shared, **config.selection.student.to_dict()}
    if segmentation:
        return build_network(
            model, num_classes=len(class_map(config)), depth=False, segmentation_head="half_resolution", axis_name=AXIS
        )
    return build_network(model, segmentation=False, axis_name=AXIS)


def check_crop(config, dataset: FrameDataset) -> None:
    """Raises ConfigError if the crop is larger than the images."""
    crop, size = tuple(config.data.crop), dataset.image_size
    if crop[0] > size[0] or crop[1] > size[1]:
        fitting = tuple(max(32, side // 32 * 32) for side in size)
        example = f"--config.data.crop='{fitting}'"
        if config.data.name == "folder":
            example = f"configs/folder.py:crop={fitting[0]}x{fitting[1]}"
        raise ConfigError(
            f"config.data.crop: {crop} is larger than the images of {dataset.name}, {size} (height, width). "
            f"What fits: {example} (multiples of 32)"
        )


def check_images(config, dataset: FrameDataset) -> None:
    """Raises ConfigError if the crop is larger than the images, or whole images do not suit the encoder."""
    check_crop(config, dataset)
    size, stride = dataset.image_size, 32
    if size[0] % stride or size[1] % stride:
        raise ConfigError(f"{dataset.name}: images of {size} should have sides that are multiples of {stride}")


def check_devices(config, key: str) -> None:
    """Raises ConfigError if a batch cannot be divided among the devices."""
    section, name = key.split(".")
    try:
        check_batch_size(config[section][name], jax.device_count(), f"config.{key}")
    except ValueError as error:
        raise ConfigError(str(error)) from error


def depth_candidates(config, dataset: FrameDataset) -> np.ndarray:
    """Indices of frames that depth can be learned from: those with both neighbours, or with known depth.

    Raises:
      ConfigError: there are none.
    """
    where = f"{dataset.name}/{dataset.split}"
    if config.depth.supervision == "depth":
        if "depth" not in dataset.fields:
            raise ConfigError(f"config.depth.supervision: 'depth' needs known depth, and {where} has none")
        return dataset.index.targets
    frames = dataset.index.with_neighbours
    if not len(frames):
        raise ConfigError(
            f"config.data.train_split (or config.video): {where} has no frame with both neighbours: depth needs video"
        )
    return frames


def depth_training_frames(config, dataset: FrameDataset) -> np.ndarray:
    """Indices of the frames that `pretrain_depth` learns from: `config.video.share` of the candidates, by seed.

    Raises:
      ConfigError: as `depth_candidates`, or there are fewer than a batch needs.
    """
    frames, share, batch_size = depth_candidates(config, dataset), config.video.share, config.depth.batch_size
    if share < 1:
        frames = random_subset(frames, max(1, round(share * len(frames))), config.seed)
    if len(frames) < batch_size:
        raise ConfigError(
            f"config.depth.batch_size: depth is learned from {len(frames)} frames of {dataset.name}/{dataset.split} "
            f"(config.video.share = {share:g}), fewer than a batch of {batch_size}"
        )
    return frames


def labeled_frames(config, dataset: FrameDataset, workdir: Workdir) -> np.ndarray:
    """Indices of the annotated training frames, the same for baseline and method: by file, selection or (seed, n).

    Raises:
      ConfigError: more are asked for than exist, the file is wrong, the selection is not there, or a batch needs more.
    """
    file, key = config.data.labels_file, "config.data.labels_file"
    if config.data.labels_from == "selection":
        key = "config.data.labels_from = 'selection'"
        workdir.require("select_labels", "config.data.labels_from = 'selection'")
        check_stage(config, workdir, "select_labels")
        file = selection_file(workdir, config.data.labels)
    try:
        if file:
            chosen = dataset.positions(read_ids(file, key))
        else:
            chosen = random_subset(label_candidates(config, dataset), config.data.labels, config.seed)
    except ValueError as error:
        where = "" if "config." in str(error) else f"{key}: {file}: "
        hint = "" if file else _left_out(config, dataset)
        raise ConfigError(f"{where}{error}{hint}") from error
    check_labeled(config, dataset, chosen)
    return chosen


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
                raise ConfigError(f"{path} is gone; --job=select_labels writes it again")
            return path
    raise ConfigError(
        f"config.data.labels: {workdir.folder('select_labels')} holds selections of "
        f"{', '.join(map(str, steps.values()))} frames, not {labels}; see config.selection.schedule"
    )


def check_labeled(config, dataset: FrameDataset, chosen: np.ndarray) -> None:
    """Raises ConfigError if frames cannot be trained on as annotated ones: no label, no video, fewer than a batch."""
    names = dataset.index.ids
    unlabeled = np.setdiff1d(chosen, dataset.index.labeled)
    if len(unlabeled):
        raise ConfigError(
            f"config.data.labels_file: {len(unlabeled)} frames have no label, e.g. '{names[unlabeled[0]]}'"
        )
    video = config.segmentation.multitask and config.depth.supervision == "self"
    alone = np.setdiff1d(chosen, dataset.index.with_neighbours)
    if video and len(alone):
        drawn = not config.data.labels_file and config.data.labels_from == "random"
        drawn = drawn and config.data.label_candidates == "all"
        some_fit = len(np.intersect1d(dataset.index.labeled, dataset.index.with_neighbours)) > 0
        raise ConfigError(
            f"{'config.data.labels_file' if config.data.labels_file else dataset.name}: {len(alone)} labelled frames "
            f"have no frame before or after them in their clip, e.g. '{names[alone[0]]}'; "
            "config.segmentation.multitask learns depth on them and needs both; "
            + (
                "config.data.label_candidates=video leaves them out"
                if drawn and some_fit
                else "without it (--config.segmentation.multitask=False) they can be used"
            )
        )
    if len(chosen) < config.segmentation.batch_size:
        raise ConfigError(
            f"config.data.labels: {len(chosen)} labelled frames are fewer than a batch "
            f"(config.segmentation.batch_size = {config.segmentation.batch_size})"
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
