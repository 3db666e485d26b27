"""GTA5 (Playing for Data): single frames of a game, annotated with Cityscapes' classes."""

import dataclasses
import pathlib

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.cityscapes import LABEL_IDS
from sdeseg_jax.data.builders.scanned_clips import Scan
from sdeseg_jax.data.builders.single_image_builder import scan_single_images
from sdeseg_jax.data.classes import CITYSCAPES, VOID

CAMERA = Camera(1.206285, 2.144507, 0.5, 0.5)
"""The game's camera in relative units, for images of any size."""


VOID_COLORS = (
    (0, 0, 0), (20, 20, 20), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140), (180, 165, 180),
    (150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110),
)  # fmt: skip
"""Colours of label ids that are no class."""

SHARED_COLORS = ((153, 153, 153), (0, 0, 142))
"""Colours of pole and car that two void ids have as well: group of poles, and licence plate."""

LABELS = dataclasses.replace(
    LABEL_IDS,
    colors={**dict.fromkeys(VOID_COLORS, VOID), **{color: i for i, color in enumerate(CITYSCAPES.colors)}},
    shared_colors=SHARED_COLORS,
    names=CITYSCAPES.names,
)
"""Indices of the published palette are label ids. In copies that were made smaller, only the colours are right."""


class Gta5(FramesBuilder, skip_registration=True):
    """GTA5: rendered single images with Cityscapes' classes; the last 500 are `validation`.

    The sizes of a few label files differ from their images'; those labels are left out.
    """

    LAYOUT = """
        images/<number>.png
        labels/<number>.png    (palette files of Cityscapes' label ids)
    """
    CLASSES = CITYSCAPES
    LABELS = LABELS
    LABEL_SIZES_VARY = True

    def scan(self, source: pathlib.Path) -> Scan:
        return scan_single_images(source, "images", "labels", CAMERA, self.LAYOUT)
