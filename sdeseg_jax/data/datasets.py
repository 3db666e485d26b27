"""Datasets by name: what `config.data.name` may be, and how a prepared one is opened."""

import dataclasses

import tensorflow_datasets as tfds

from sdeseg_jax.config import ConfigError
from sdeseg_jax.data.classes import CITYSCAPES, ClassMap
from sdeseg_jax.data.frames import FrameDataset
from sdeseg_jax.data.streets.builder import Streets, StreetsConfig

FILE_FORMAT = "array_record"


class DatasetError(ConfigError):
    """A dataset is unknown, not prepared, or its options are wrong; the message says what to do."""


def _streets(data_dir: str | None, options: dict) -> tfds.core.DatasetBuilder:
    valid = {field.name for field in dataclasses.fields(StreetsConfig)}
    unknown = sorted(set(options) - valid)
    if unknown:
        raise DatasetError(f"config.data.options.{unknown[0]}: no such option of Streets; it has {sorted(valid)}")
    try:
        config = StreetsConfig(**options)
    except ValueError as error:
        raise DatasetError(f"config.data.options: {error}") from error
    return Streets(config=config, data_dir=data_dir, file_format=FILE_FORMAT)


BUILDERS = {"streets": (_streets, CITYSCAPES)}
"""name -> (function of (data_dir, options) that returns its builder, class map)."""


def class_map(name: str) -> ClassMap:
    """The classes of a dataset, known before it is prepared."""
    return BUILDERS[name][1] if name in BUILDERS else CITYSCAPES


def prepare(name: str, data_dir: str = "", options: dict | None = None) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset that is ready to read; a procedural one is generated on first use.

    Raises:
      DatasetError: the dataset has no builder, or a builder's option is unknown.
    """
    if name not in BUILDERS:
        raise DatasetError(f"config.data.name: there is no builder for '{name}' yet; there are {sorted(BUILDERS)}")
    builder = BUILDERS[name][0](data_dir or None, dict(options or {}))
    if not builder.is_prepared():
        builder.download_and_prepare(file_format=FILE_FORMAT)
    return builder


def open_split(name: str, split: str, data_dir: str = "", options: dict | None = None) -> FrameDataset:
    """Opens one split of a dataset, generating it on first use where it is procedural."""
    return FrameDataset(prepare(name, data_dir, options), split, class_map(name))
