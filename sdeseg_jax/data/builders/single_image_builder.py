"""Datasets of a folder of single images and a folder of labels, without an official split."""

import pathlib

from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.scanned_clips import Clip, Frame, Scan, list_files, require_folders, unmatched

HELD_OUT = 500
"""Number of images in the split `validation`: the last ones in the order of their names."""


def scan_single_images(source: pathlib.Path, images: str, labels: str, camera: Camera, layout: str) -> Scan:
    """Finds images and labels of the same name; every image is a clip of its own.

    The last `HELD_OUT` images are `validation`, or the last fifth of fewer than twice as many (a part of the dataset).

    Args:
      source: the downloaded folder.
      images, labels: folders in it.
      camera: of all images.
      layout: the expected one, for messages.

    Raises:
      SourceError: one of the folders is missing.
    """
    require_folders(source, (images, labels), layout)
    image_files = list_files(source / images, (".png",))
    label_files = {path.stem: str(path) for path in list_files(source / labels, (".png",))}
    frames = [Frame(path.stem, str(path), camera, label_files.get(path.stem)) for path in image_files]
    clips = [Clip(frame.id, (frame,)) for frame in frames]
    notes = unmatched([path.stem for path in image_files], label_files, images)
    held_out = HELD_OUT
    if len(clips) < 2 * HELD_OUT:
        held_out = len(clips) // 5
        notes.append(f"{len(clips)} images are a part of the dataset: the last fifth ({held_out}) is 'validation'")
    first = len(clips) - held_out
    splits = {"train": clips[:first], "validation": clips[first:]}
    return Scan({name: part for name, part in splits.items() if part}, tuple(notes))
