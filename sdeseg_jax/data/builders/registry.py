"""The builders by the name that `config.data.name` and `prepare_data --dataset` take."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # TensorFlow, which the list of names does without
    from sdeseg_jax.data.builders.base_builder import FramesBuilder

BUILDERS = {
    "cityscapes": "Cityscapes",
    "cityscapes_video": "CityscapesVideo",
    "camvid": "Camvid",
    "gta5": "Gta5",
    "gta5_video": "Gta5Video",
    "synthia": "Synthia",
    "synthia_video": "SynthiaVideo",
    "kitti_odometry": "KittiOdometry",
    "folder": "Folder",
}
"""Name, which is also the module's -> class."""


def builder_class(name: str) -> type[FramesBuilder]:
    """Returns a builder, which it imports."""
    return getattr(importlib.import_module(f"sdeseg_jax.data.builders.{name}"), BUILDERS[name])
