"""Encodes a frame in a worker process, and measures what the report of a preparation says about it."""

import dataclasses
import io

import numpy as np
from PIL import Image

from sdeseg_jax.data.builders.frame_encoding import Problem, Task, encode_frame
from sdeseg_jax.data.builders.neighbour_changes import SMALL, small_grey


@dataclasses.dataclass(frozen=True)
class MeasuredFrame:
    """A frame as it is stored.

    Attributes:
      encoded: see `frame_encoding.encode_frame`; None if the frame cannot be stored.
      problem: with the frame or its label.
      pixels: train id (or 255, void) -> pixels of the stored label; None if the frame is not annotated.
      grey: small version to compare with the frames before and after it, uint8 [32, 64].
    """

    encoded: dict | None
    problem: Problem | None = None
    pixels: dict[int, int] | None = None
    grey: np.ndarray | None = None


def encode_and_measure(task: Task) -> MeasuredFrame:
    """Encodes a frame; a label with a problem counts as none."""
    result, problem = encode_frame(task), None
    if isinstance(result, Problem):
        result, problem = result.unlabeled, result
    if result is None:
        return MeasuredFrame(None, problem)
    pixels = None
    if task.frame.label is not None and problem is None and "label" in result:
        with Image.open(io.BytesIO(result["label"])) as label:
            counts = np.bincount(np.asarray(label).ravel())
        pixels = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    with Image.open(io.BytesIO(result["image"])) as image:
        image.draft("L", (2 * SMALL[0], 2 * SMALL[1]))  # decodes a fraction of the pixels
        grey = small_grey(image)
    return MeasuredFrame(result, problem, pixels, grey)
