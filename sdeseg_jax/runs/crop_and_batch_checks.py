"""Checks crops against image sizes, and batches against devices and what BatchNorm needs."""

import jax

from sdeseg_jax.config import ConfigError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.training.replication import check_batch_size, smallest_batch


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


def check_batch(config, key: str) -> None:
    """Checks the batch of a training, of size `config.<key>`, a "section.name".

    Raises:
      ConfigError: it cannot be split among the devices, or a BatchNorm statistic would be of a single image.
    """
    section, name = key.split(".")
    size, devices = config[section][name], jax.device_count()
    try:
        check_batch_size(size, devices)
    except ValueError as error:
        raise ConfigError(key, str(error)) from error
    smallest = smallest_batch(devices, config.model.sync_batch_norm)
    if size >= smallest:
        return
    which, pooled = f"a batch of {size} has", ""
    if devices > 1:
        which = f"a batch of {size} on {devices} devices that do not share their statistics has"
        pooled = f", or --config.model.sync_batch_norm=True for statistics over the images of all {devices} devices"
    raise ConfigError(
        key,
        f"{which} one image behind each BatchNorm statistic. The image-level branch of the decoders (ASPP) then learns "
        f"nothing and spoils every prediction. Use {{flag}}={smallest} or more{pooled}. If memory is short: "
        "--config.model.remat=True, --config.model.dtype=bfloat16, or a smaller --config.data.crop.",
    )


def advice_for_few_frames(config, key: str, frames: int) -> str:
    """Returns what to do where there are fewer frames than the batch of a training, of size `config.<key>`."""
    devices = jax.device_count()
    smallest, largest = smallest_batch(devices, config.model.sync_batch_norm), frames // devices * devices
    if largest >= smallest:
        return f"Use --config.{key}={largest}, or more frames"
    return f"Use more frames: the smallest batch is {smallest}, because BatchNorm needs two images per statistic" + (
        f" and each of {devices} devices as many as the others" if devices > 1 else ""
    )
