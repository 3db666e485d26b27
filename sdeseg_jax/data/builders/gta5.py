"""GTA5 (Playing for Data): single frames of a game, annotated with Cityscapes' classes."""

import pathlib

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.cityscapes import LABEL_IDS
from sdeseg_jax.data.builders.scanned_clips import Scan
from sdeseg_jax.data.builders.single_image_builder import scan_single_images
from sdeseg_jax.data.classes import CITYSCAPES

CAMERA = Camera(1.206285, 2.144507, 0.5, 0.5)
"""The game's camera in relative units, for images of any size."""


class Gta5(FramesBuilder, skip_registration=True):
    """GTA5: rendered single images with Cityscapes' classes; the last 500 are `validation`.

    The sizes of a few label files differ from their images'; those labels are left out.
    """

    LAYOUT = """
        images/<number>.png
        labels/<number>.png    (palette files of Cityscapes' label ids)
    """
    CLASSES = CITYSCAPES
    LABELS = LABEL_IDS
    LABEL_SIZES_VARY = True

    def scan(self, source: pathlib.Path) -> Scan:
        return scan_single_images(source, "images", "labels", CAMERA, self.LAYOUT)
