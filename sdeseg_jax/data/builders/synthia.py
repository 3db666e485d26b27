"""SYNTHIA-RAND-CITYSCAPES: single rendered frames, annotated with most of Cityscapes' classes."""

import pathlib

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.scanned_clips import LabelFormat, Scan
from sdeseg_jax.data.builders.single_image_builder import scan_single_images
from sdeseg_jax.data.classes import CITYSCAPES

CAMERA = Camera(532.740352, 532.740352, 639.5, 379.5, 1280, 760)
"""SYNTHIA-SEQS' camera. RAND-CITYSCAPES states none; its images have the same size and virtual camera."""

TRAIN_IDS = {label: i for i, label in enumerate((3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11))}
"""SYNTHIA's class -> Cityscapes' train id."""


class Synthia(FramesBuilder, skip_registration=True):
    """SYNTHIA-RAND-CITYSCAPES: rendered single images, labels as Cityscapes' train ids; the last 500 are `validation`.

    The usual protocols for it, `classes.SYNTHIA_16` and `SYNTHIA_13`, leave out terrain, truck and train.
    """

    LAYOUT = """
        RGB/<number>.png
        GT/LABELS/<number>.png    (16 bits per channel; the class is in the first)
    """
    CLASSES = CITYSCAPES
    LABELS = LabelFormat.from_ids(TRAIN_IDS, void=set(range(23)) - set(TRAIN_IDS), deep=True)

    def scan(self, source: pathlib.Path) -> Scan:
        return scan_single_images(source, "RGB", "GT/LABELS", CAMERA, self.LAYOUT)
