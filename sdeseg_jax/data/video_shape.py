"""The shape in which players show a video: the display matrix turns and mirrors it, the pixel aspect stretches it."""

from fractions import Fraction

import av
import numpy as np

SQUARE = 0.01
"""Deviation from square pixels that is ignored: rounding sides to whole pixels causes about as much."""

MAX_PIXEL_ASPECT = 4
"""Most elongated pixels that are believed. Anamorphic lenses and wide-screen DVDs have up to 2."""


def pixel_aspect(stream) -> Fraction:
    """Returns the width of a stored pixel divided by its height; 1 if the file does not say, or says about that.

    Raises:
      ValueError: the value is implausible.
    """
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
        raise ValueError(
            f"states that its pixels are {aspect.numerator}:{aspect.denominator}, which no camera has; correct it "
            "with: ffmpeg -i <this file> -c copy -aspect <width>:<height of the picture> <new file>"
        )
    return aspect if abs(aspect - 1) > SQUARE else Fraction(1)


def square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Returns (width, height) with square pixels; the shorter side of the pixels is stretched, so nothing is lost."""
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def turns(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Returns how a frame is shown: (rows and columns are swapped, then columns are reversed, then rows are).

    The display matrix of ISO 14496-12 puts the stored pixel (x, y) at (a x + c y, b x + d y). A matrix that turns by
    another angle than multiples of 90 degrees counts as the nearest.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    return (True, c < 0, b < 0) if swapped else (False, a < 0, d < 0)


def shown(frame: av.VideoFrame, aspect: Fraction = Fraction(1)) -> np.ndarray:
    """Returns a frame as players show it, [H, W, 3] uint8, with square pixels.

    Args:
      frame: decoded.
      aspect: of its pixels, see `pixel_aspect`.
    """
    width, height = square_size(frame.width, frame.height, aspect)
    if (width, height) == (frame.width, frame.height):
        pixels = frame.to_ndarray(format="rgb24")
    else:
        pixels = frame.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
    swapped, columns, rows = turns(frame)
    if swapped:
        pixels = pixels.swapaxes(0, 1)
    if columns:
        pixels = pixels[:, ::-1]
    return pixels[::-1] if rows else pixels
