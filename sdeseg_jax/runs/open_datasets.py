"""Opens the datasets that a config names, and finds the classes that are trained and scored."""

from contextlib import contextmanager

from sdeseg_jax.config import ConfigError, UserError, source_config, source_keys
from sdeseg_jax.data import datasets
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.data.frame_dataset import FrameDataset


def open_split(config, split: str, key: str = "data.train_split") -> FrameDataset:
    """Opens a split of `config.data`; the setting `key` names it.

    Raises:
      ConfigError: the dataset or split is unknown or not prepared.
    """
    data = config.data
    options = data.options.to_dict()
    return datasets.open_split(data.name, split, data.data_dir, options, data.variant, data.protocol, key)


def open_training(config) -> FrameDataset:
    """Opens the frames that segmentation is trained on. Raises as `open_split`."""
    return open_split(config, config.data.train_split)


def open_video(config) -> FrameDataset:
    """Opens the frames that depth is learned from: `config.video` if it names a dataset, else the training split.

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
        # Only config.data names the folder of prepared datasets.
        raise error.moved({"data": "video", "data.data_dir": "data.data_dir"}) from error


def open_source(config) -> FrameDataset:
    """Opens the labelled frames of the source domain, their labels in the classes of the target (Sec. 3.5).

    Raises:
      ConfigError: the dataset or split is unknown or not prepared, or has no labels or other classes.
    """
    classes = class_map(config)
    with source_domain(config) as own:
        data, options = own.data, own.data.options.to_dict()
        return datasets.open_labels(data.name, data.train_split, classes, data.data_dir, options, data.variant)


@contextmanager
def source_domain(config):
    """Yields the config of the source domain for a job of the target domain; errors in the body name `config.source`.

    Raises:
      ConfigError: no source domain is configured.
    """
    if not config.source.name:
        raise ConfigError("source.name", "empty, so there is no source domain to learn depth of")
    try:
        yield source_config(config)
    except ConfigError as error:
        raise error.moved(source_keys(config)) from error


def open_evaluation(config) -> FrameDataset | None:
    """Opens the frames that are scored; None if the dataset has only a training split, as a user's folder may.

    Raises:
      ConfigError: the split is missing although the dataset has other splits than the training split.
    """
    data = config.data
    splits = datasets.prepare(data.name, data.data_dir, data.options.to_dict(), data.variant).info.splits
    if set(splits) == {"train"} and config.evaluation.split == "validation":
        return None
    return open_split(config, config.evaluation.split, "evaluation.split")


def open_scored_labels(config, dataset: FrameDataset) -> FrameDataset:
    """Opens the evaluation split at the size for segmentation scores: `dataset`, or its `config.evaluation.variant`.

    Raises:
      ConfigError: the variant is not prepared, or has other frames.
    """
    data, variant = config.data, config.evaluation.variant
    if not variant:
        return dataset
    try:
        split, options = config.evaluation.split, data.options.to_dict()
        scored = datasets.open_split(
            data.name, split, data.data_dir, options, variant, data.protocol, key="evaluation.split"
        )
    except ConfigError as error:
        raise error.moved({"data.variant": "evaluation.variant"}) from error
    if scored.index.ids != dataset.index.ids:
        raise ConfigError("evaluation.variant", f"'{variant}' has other frames than the training size")
    return scored


def class_map(config) -> ClassMap:
    """Returns the classes that are trained and scored; only those of a user's folder need a prepared dataset.

    Raises:
      ConfigError: the dataset has no labels, or a folder is not prepared.
    """
    data = config.data
    classes = datasets.class_map(data.name, data.data_dir, data.variant, data.protocol)
    if classes is None:
        stages = "--config.pipeline.stages=\"('pretrain_depth', 'evaluate', 'report')\""
        if data.name == "folder":
            stages = "configs/folder.py:stages=depth or stages=select; once it has labels, prepare the folder again "
            stages += "with another --output"
        raise ConfigError("data.name", f"'{data.name}' has no labels; use it to learn depth: {stages}")
    return classes


def has_known_classes(config) -> bool:
    """Whether the classes can be determined; other checks report a missing dataset."""
    try:
        class_map(config)
    except UserError:
        return False
    return True
