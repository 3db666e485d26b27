"""Checks crops against image sizes, and batches against devices."""

import jax

from sdeseg_jax.config import ConfigError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.training.replication import check_batch_size


def check_crop(config, dataset: FrameDataset) -> None:
    """Raises ConfigError if the crop is larger than the images."""
    crop, size = tuple(config.data.crop), dataset.image_size
    if crop[0] > size[0] or crop[1] > size[1]:
        fitting = tuple(max(32, side // 32 * 32) for side in size)
        example = f"{{flag}}='{fitting}'"
        if config.data.name == "folder":
            example = f"configs/folder.py:crop={fitting[0]}x{fitting[1]}"
        raise ConfigError(
            "data.crop",
            f"{crop} is larger than the images of {dataset.name}, {size}. "
            f"Use {example} (height, width; multiples of 32).",
        )


def check_images(config, dataset: FrameDataset) -> None:
    """Raises ConfigError if the crop is larger than the images, or whole images do not suit the encoder."""
    check_crop(config, dataset)
    if any(side % 32 for side in dataset.image_size):
        raise ConfigError(
            "data.name",
            f"the images of {dataset.name}, {dataset.image_size}, should have sides that are multiples of 32; prepare "
            "it again with another --size",
        )


def check_devices(config, key: str) -> None:
    """Raises ConfigError if the batch of size `config.<key>`, a "section.name", cannot be split among the devices."""
    section, name = key.split(".")
    try:
        check_batch_size(config[section][name], jax.device_count())
    except ValueError as error:
        raise ConfigError(key, str(error)) from error
