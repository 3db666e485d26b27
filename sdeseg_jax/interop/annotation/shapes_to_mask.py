"""Polygons and masks from annotation tools -> label maps.

Coordinates are continuous: pixel (row, column) covers [column, column + 1) x [row, row + 1), as in COCO, Label Studio
and CVAT. A pixel is in a shape if its centre is, so that shapes with a common edge neither overlap nor leave a gap.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sdeseg_jax.data.builders.label_pixels import LabelSymbols, read_label
from sdeseg_jax.data.classes import VOID

VOID_NAME = "void"
"""Class by which annotators mark pixels that belong to no class, unless the dataset has a class of this name."""


class StrayShapeError(ValueError):
    """The shape has no area, as after a stray click: it is left out. It is no reason to refuse the others."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """An area of one class.

    Attributes:
      class_name: in the annotation tool; "" if it has none.
      draw: (height, width) -> bool [H, W]; raises StrayShapeError if the shape has no area, ValueError if it is not
        valid.
      where: place in the export, for messages.
    """

    class_name: str
    draw: Callable[[tuple[int, int]], np.ndarray]
    where: str


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """One image of an export.

    Attributes:
      name: of the image file, in the annotation tool.
      size: (width, height) according to the export, or None.
      shapes: function that returns the shapes in drawing order, later ones on top of earlier ones; raises ValueError if
        a file cannot be read.
      where: its file or entry, for messages.
    """

    name: str
    size: tuple[int, int] | None
    shapes: Callable[[], Sequence[Shape]]
    where: str


@dataclasses.dataclass(frozen=True)
class Painting:
    """Shapes drawn on top of each other.

    Attributes:
      label: uint8 [H, W].
      problems: of shapes that cannot be drawn, a line each.
      stray: shapes without area, which are left out, a line each.
    """

    label: np.ndarray
    problems: list[str]
    stray: list[str]


def polygon_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the inside of a polygon by the even-odd rule, clipped to the image: bool [H, W].

    Args:
      points: [N, 2] (x, y) in pixels, in order; the polygon is closed.
      size: (height, width).
    """
    height, width = size
    points = np.asarray(points, np.float64)
    top, bottom = (int(np.clip(np.ceil(y - 0.5), 0, height)) for y in (points[:, 1].min(), points[:, 1].max()))
    # In each row, the inside begins or ends at the first pixel whose centre is not left of an edge.
    changes = np.zeros((bottom - top, width + 1), bool)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        (x0, y0), (x1, y1) = sorted((start, end), key=lambda point: point[1])
        first, last = (int(np.clip(np.ceil(y - 0.5), top, bottom)) for y in (y0, y1))
        if first < last:
            x = x0 + (np.arange(first, last) + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            columns = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
            changes[np.arange(first - top, last - top), columns] ^= True
    mask = np.zeros((height, width), bool)
    mask[top:bottom] = np.logical_xor.accumulate(changes, axis=1)[:, :-1]
    return mask


def polygon_points(values: Any) -> np.ndarray:
    """Returns the points [N, 2] of a polygon from x1, y1, x2, y2, … in lists of any depth.

    Raises:
      StrayShapeError: there are fewer than three points.
      ValueError: the values are not numbers, or too large.
    """
    try:
        points = np.array(values, np.float64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("has no valid outline: expected numbers x1, y1, x2, y2, …") from error
    if not (np.abs(points) < 1e9).all():
        raise ValueError("has an outline with points far outside any image")
    if len(points) < 3:
        raise StrayShapeError(f"has an outline of {len(points)} points")
    return points


def counts_from_string(text: str) -> list[int]:
    """Returns the run lengths of COCO's compressed RLE.

    A number is written in groups of 5 bits, the lowest first, each as the character with code 48 + group, + 32 if more
    follow; bit 16 of the last is the sign. From the fourth number on, it is the difference to the last but one.

    Raises:
      ValueError: not a valid compressed RLE string.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 50:
            raise ValueError("has a string that is not a valid compressed RLE")
        number |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise ValueError("has a compressed RLE that is cut off")
    return counts


def rle_mask(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Decodes COCO's RLE to bool [H, W].

    Args:
      counts: lengths of runs outside, inside, outside, ... the mask, column by column.
      size: (height, width).

    Raises:
      ValueError: the runs do not fit this size.
    """
    height, width = size
    if not all(type(one) is int and one >= 0 for one in counts) or sum(counts) != height * width:
        raise ValueError(f"has an RLE whose runs do not fit an image of {width}x{height}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def brush_mask(rle: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Decodes Label Studio's brush RLE to bool [H, W]: where the brush covers at least half of a pixel.

    The bytes are a bit stream. Header: the number of values in 32 bits, the bits of a value minus 1 in 5, and four
    times the bits of a count minus 1 in 4. Chunk: 1 bit, whether its values are equal; 2 bits, which of the four sizes
    its count has; the count minus 1, then one value, or as many as it says. Values are RGBA, row by row; A is the mask.

    Args:
      rle: bytes as numbers from 0 to 255.
      size: (height, width).

    Raises:
      ValueError: the bytes are damaged, or have another size.
    """
    height, width = size
    broken = "has a brush mask that is damaged"
    try:
        data = bytes(rle)
    except (TypeError, ValueError) as error:
        raise ValueError(broken) from error
    position = 0

    def read(bits: int) -> int:
        nonlocal position
        first, position = position, position + bits
        end = (position + 7) // 8
        if end > len(data):
            raise ValueError(broken)
        return int.from_bytes(data[first // 8 : end], "big") >> (8 * end - position) & ((1 << bits) - 1)

    total = read(32)
    if total != 4 * height * width:
        raise ValueError(f"has a brush mask of {total // 4} pixels, but the image is {width}x{height}")
    if read(5) != 7:
        raise ValueError(broken)
    count_bits = [read(4) + 1 for _ in range(4)]
    values = bytearray()
    while len(values) < total:
        is_run = read(1)
        count = read(count_bits[read(2)]) + 1
        values += bytes([read(8)]) * count if is_run else read(8 * count).to_bytes(count, "big")
    if len(values) != total:
        raise ValueError(broken)
    return np.frombuffer(values, np.uint8).reshape(height, width, 4)[..., 3] >= 128


def hex_color(color: tuple[int, int, int]) -> str:
    """Formats a colour: (0, 0, 142) -> "#00008e"."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def read_symbols(path: pathlib.Path) -> tuple[LabelSymbols, np.ndarray]:
    """Reads a PNG as `label_pixels.read_label` does; raises ValueError if the file cannot be decoded."""
    try:
        return read_label(path)
    except Exception as error:  # damaged files raise many kinds
        raise ValueError(f"cannot be decoded ({str(error) or type(error).__name__})") from error


def paint(
    shapes: Iterable[Shape],
    size: tuple[int, int],
    values: Mapping[str, int],
    background: int = VOID,
    by_area: bool = False,
) -> Painting:
    """Draws shapes on top of each other.

    Args:
      shapes: in drawing order.
      size: (height, width).
      values: class name -> value of its pixels; shapes of other classes are skipped.
      background: value of pixels outside all shapes.
      by_area: draw larger shapes first instead; draws everything twice.

    """
    result = Painting(np.full(size, background, np.uint8), [], [])
    shapes = [shape for shape in shapes if shape.class_name in values]
    if by_area:
        areas = [_draw(shape, size, [], []).sum() for shape in shapes]
        shapes = [shapes[i] for i in np.argsort(-np.array(areas, np.int64), kind="stable")]
    for shape in shapes:
        mask = _draw(shape, size, result.problems, result.stray)
        result.label[mask] = values[shape.class_name]
    return result


def _draw(shape: Shape, size: tuple[int, int], problems: list[str], stray: list[str]) -> np.ndarray:
    try:
        mask = shape.draw(size)
        if mask.shape != size:
            height, width = mask.shape
            raise ValueError(f"is {width}x{height}, but the image is {size[1]}x{size[0]}")
        if not mask.any():
            stray.append(f"{shape.where} covers no pixel")
        return mask
    except StrayShapeError as error:
        stray.append(f"{shape.where} {error}")
        return np.zeros(size, bool)
    except ValueError as error:
        problems.append(f"{shape.where} {error}")
        return np.zeros(size, bool)
