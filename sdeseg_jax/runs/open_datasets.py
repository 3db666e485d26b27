"""Opens the datasets that a config names, and the classes that are trained and scored."""

from contextlib import contextmanager

from sdeseg_jax.config import ConfigError, source_config
from sdeseg_jax.data import datasets
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.data.frame_dataset import FrameDataset


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
        # Only config.data says where prepared datasets lie.
        raise error.moved({"data": "video", "data.data_dir": "data.data_dir"}) from error


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
        raise in_source_section(config, error) from error


def in_source_section(config, error: ConfigError) -> ConfigError:
    """An error of the config that `source_config` made, under the keys of `config.source`."""
    own = {f"data.{name}": f"source.{name}" for name in ("name", "variant", "options")}
    own |= {"data.train_split": "source.split", "video": "source.video"}
    for section in ("model", "depth"):
        own |= {f"{section}.{name}": f"source.{section}.{name}" for name in config.source[section]}
    return error.moved(own)


@contextmanager
def source_domain(config):
    """The config of the source domain, for a job of the target's to work with; its errors name `config.source`.

    Raises:
      ConfigError: there is none.
    """
    if not config.source.name:
        raise ConfigError("source.name", "empty, so there is no source domain whose depth could be learned")
    try:
        yield source_config(config)
    except ConfigError as error:
        raise in_source_section(config, error) from error


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
        raise error.moved({"data.variant": "evaluation.variant"}) from error
    if scored.index.ids != dataset.index.ids:
        raise ConfigError("evaluation.variant", f"'{variant}' has other frames than the size that is trained on")
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
            "data.name",
            f"'{data.name}' has no labels; it is for learning depth (config.pipeline.stages = "
            "('pretrain_depth', 'evaluate', 'report'))"
            + (
                ". With configs/folder.py:stages=depth or stages=select it is; with labels, the folder has to be "
                "prepared anew (another --output)"
                if data.name == "folder"
                else ""
            ),
        )
    return classes
