"""How much neighbouring frames differ: a camera that stands still, and cuts; neither teaches depth.

Measured on grey images of 64x32 pixels, with CamVid's validation video (15 Hz), KITTI odometry (10 Hz), Streets, and
their frames again with noise and compression, or enlarged by a little as if the camera had moved forward (640 and 480
pixels wide, Streets 192):

    difference (99th percentile, grey levels)         match (mean correlation of blocks)
      the same, JPEG 40 or noise of sigma 3     1-3     neighbours in CamVid            0.89-0.96
      the same, JPEG 40 and noise of sigma 8    3-4     neighbours in KITTI             0.77-0.90
      enlarged by 0.2%                          4-9     neighbours in Streets           0.70-0.96
      enlarged by 0.5%                         8-20     KITTI, 2 and 3 frames apart     0.66-0.83
      neighbours in CamVid                    24-85     cut from CamVid to KITTI        0.48-0.67
      neighbours in KITTI                    64-184     cut to another place of KITTI   0.59-0.68
      neighbours in Streets                  29-212     cut to another place of CamVid  0.56-0.73
                                                        cut to another street           0.50-0.74

Of cuts to another camera or another place of KITTI nearly all are found at a match of 0.68, of cuts within one street
of CamVid or between Streets that look alike half or more. A higher threshold would leave out healthy neighbours.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from sdeseg_jax.data.worker_processes import run_parallel

SMALL = (64, 32)
"""(width, height) of the grey images that are compared."""

BLOCK = 8
"""Side of the blocks that are looked for in the other image, in pixels of the small one."""

REACH = (8, 4)
"""How far (left and right, up and down) a block is looked for: an eighth of the image."""

TEXTURED = 4.0
"""Standard deviation, in grey levels, from which on a block can be recognised in the other image."""

ENOUGH = 4
"""Textured blocks, of 32, without which `match` is unknown: in fog, or before a wall that fills the image."""

MOST = 20.0
"""Standard deviation above which blocks weigh the same; else a few edges against the sky would decide."""

NOISE = 1.0
"""Standard deviation, in grey levels, below which a window is flat and matches nothing."""


def small_grey(image: Image.Image) -> np.ndarray:
    """Returns the grey version that is compared, uint8 [32, 64]."""
    return np.asarray(image.convert("L").resize(SMALL, Image.Resampling.BOX))


_CHUNK = 500
"""Pairs that a worker process compares at a time, 5 ms each; fewer in all are compared without workers."""


def changes_in_clips(grey: np.ndarray, clips: Sequence[int], processes: int = 0) -> dict[str, list[float | None]]:
    """Compares every frame with the one before it in its clip.

    Args:
      grey: small versions of all records, uint8 [N, 32, 64].
      clips: numbers of frames of the clips, in the order of the records.
      processes: workers; 0: one per CPU.

    Returns:
      `difference` and `match`: of every record, rounded; None for the first of a clip, and where it is unknown.
    """
    chunks = [slice(first, first + _CHUNK + 1) for first in range(0, max(0, len(grey) - 1), _CHUNK)]
    tasks = (grey[chunk] for chunk in chunks)
    if len(chunks) > 1 and processes != 1:
        compared = run_parallel("sdeseg_jax.data.builders.neighbour_changes:compare", tasks, processes)
    else:
        compared = map(compare, tasks)
    pairs = [(None, None), *(pair for part in compared for pair in part)]
    for first in np.cumsum([0, *clips])[:-1]:
        pairs[first] = None, None
    columns = zip(*pairs[: len(grey)], strict=True) if len(grey) else ((), ())
    rounded = ([None if one is None or np.isnan(one) else round(one, 3) for one in column] for column in columns)
    return dict(zip(("difference", "match"), rounded, strict=True))


def compare(frames: np.ndarray) -> list[tuple[float, float]]:
    """Returns (`difference`, `match`) of every frame and the one before it: N - 1 pairs of uint8 [N, 32, 64]."""
    return [(difference(*pair), match(*pair)) for pair in zip(frames[:-1], frames[1:], strict=True)]


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the grey levels by which 99% of the pixels differ at most; about 0 for the same view.

    The percentile, not the mean: motion changes edges a lot and the rest little, noise changes everything alike.
    """
    return float(np.percentile(np.abs(first.astype(np.float32) - second), 99))


def match(first: np.ndarray, second: np.ndarray) -> float:
    """Returns how well blocks of one small image are found again in the other: near 1 in video, low across a cut.

    It is the largest correlation within `REACH`, averaged over textured blocks with their contrast as weight; NaN if
    too few blocks are textured.
    """
    blocks = _windows(first, BLOCK)[::BLOCK, ::BLOCK]  # [rows, columns, B, B]
    contrast = blocks.std(axis=(2, 3))
    textured = contrast >= TEXTURED
    if textured.sum() < ENOUGH:
        return float("nan")
    padded = np.pad(second, ((REACH[1],) * 2, (REACH[0],) * 2), "edge")
    windows, area = _windows(padded, BLOCK), BLOCK * BLOCK
    squared = _window_sums(padded * 1.0 * padded) / area - (_window_sums(padded) / area) ** 2
    norms = np.sqrt(np.maximum(squared, NOISE**2) * area)
    wanted = blocks - blocks.mean(axis=(2, 3), keepdims=True)
    wanted /= np.sqrt((wanted * wanted).sum(axis=(2, 3), keepdims=True)) + 1e-6
    best = np.zeros_like(contrast)
    for row, column in np.argwhere(textured):
        top, left = BLOCK * row, BLOCK * column
        near = np.s_[top : top + 2 * REACH[1] + 1, left : left + 2 * REACH[0] + 1]
        products = windows[near].reshape(-1, area) @ wanted[row, column].ravel()
        best[row, column] = (products / norms[near].ravel()).max()
    weights = np.minimum(contrast, MOST)[textured]
    return float((best[textured] * weights).sum() / weights.sum())


def _windows(image: np.ndarray, side: int) -> np.ndarray:
    """Returns all windows [Y, X, side, side] of an image, float32."""
    return np.lib.stride_tricks.sliding_window_view(image.astype(np.float32), (side, side))


def _window_sums(image: np.ndarray) -> np.ndarray:
    """Returns the sum of every window of a block's size, float64 [Y, X]."""
    sums = np.cumsum(np.cumsum(np.pad(image.astype(np.float64), ((1, 0), (1, 0))), axis=0), axis=1)
    return sums[BLOCK:, BLOCK:] - sums[:-BLOCK, BLOCK:] - sums[BLOCK:, :-BLOCK] + sums[:-BLOCK, :-BLOCK]
