"""Reads label PNGs without changing their values: grey levels, indices of a palette with its colours, or colours."""

import dataclasses
import json
import os

import numpy as np
from PIL import Image

from sdeseg_jax.data import video_files
from sdeseg_jax.data.builders.image_reading import ORIENTATION, open_image, png_header

CLASSES_KEY = "classes"
"""Text in label files that this program writes: a JSON object of values and the names of their classes."""

GREY, PALETTE, COLORS = "grey", "palette", "colors"
MAX_COLORS = 4096
"""Most colours of a label file; a photo has more."""

NO_COLOR = (-1, -1, -1)


@dataclasses.dataclass(frozen=True)
class LabelSymbols:
    """The N different pixels of a label file.

    Attributes:
      kind: `GREY`, `PALETTE` or `COLORS`.
      bits: per channel, or per index.
      values: [N] samples of a grey file or indices of a palette file; -1 in a file of colours.
      colors: [N, 3] as shown, 0 to 255; `NO_COLOR` where there is none.
      alpha: [N] opacity, 0 to 255.
      palette: all colours of a palette file.
      names: value -> class, if this program wrote the file.
    """

    kind: str
    bits: int
    values: np.ndarray
    colors: np.ndarray
    alpha: np.ndarray
    palette: tuple[tuple[int, int, int], ...] = ()
    names: dict[int, str] | None = None


def read_label(path: str | os.PathLike) -> tuple[LabelSymbols, np.ndarray]:
    """Returns the different pixels of a label file, and which of them each pixel is, [H, W] int.

    Raises:
      ValueError: the file is not a PNG, or could be read in several ways.
      Exception: of many types, for damaged files.
    """
    with open_image(path) as image:
        header = png_header(path)
        if image.format != "PNG" or header is None:
            raise ValueError(f"it is a {image.format} file, whatever its name says. Labels need PNG, which is lossless")
        if image.getexif().get(ORIENTATION, 1) != 1:
            raise ValueError("its EXIF data say that it is turned; save it turned, without them")
        if header.bits == 16:
            return _read_deep(path, image, header.color_type)
        if header.color_type == 3:
            return _read_palette(image, header.bits)
        if header.color_type in (0, 4):
            return _read_grey(image, header.bits)
        return _read_colors(np.asarray(image.convert("RGBA")))


def survey_label(path: str) -> LabelSymbols | None:
    """Returns the different pixels of a label file, None for a file that cannot be read; encoding reports those."""
    try:
        return read_label(path)[0]
    except Exception:  # damaged files raise many types
        return None


def _read_grey(image: Image.Image, bits: int) -> tuple[LabelSymbols, np.ndarray]:
    names = _names(image) if bits == 8 else None
    pixels = np.asarray(image if image.mode == "LA" else image.convert("L")).astype(np.int64)
    found, places = _unique(pixels[..., 0] << 8 | pixels[..., 1] if image.mode == "LA" else pixels << 8 | 255)
    shown, alpha = found >> 8, found & 255
    values = shown // (255 // (2**bits - 1))  # Pillow scales levels of fewer than 8 bits
    if "transparency" in image.info:
        alpha = np.where(values == image.info["transparency"], 0, alpha)
    return LabelSymbols(GREY, bits, values, shown[:, None].repeat(3, 1), alpha, names=names), places


def _read_palette(image: Image.Image, bits: int) -> tuple[LabelSymbols, np.ndarray]:
    names = _names(image)
    indices = np.asarray(image)
    palette = np.array(image.getpalette("RGB"), np.int64).reshape(-1, 3)
    opacity = np.full(256, 255, np.int64)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        opacity[transparent] = 0
    elif transparent:
        opacity[: len(transparent)] = list(transparent)
    found, places = _unique(indices)
    colors = np.concatenate([palette, np.full((256, 3), NO_COLOR)])[found]
    listed = tuple(map(tuple, palette.tolist()))
    # Programs that make files smaller reorder palettes, and shorten them.
    names = names if len(listed) == 256 else None
    return LabelSymbols(PALETTE, bits, found, colors, opacity[found], listed, names), places


def _read_colors(pixels: np.ndarray, bits: int = 8) -> tuple[LabelSymbols, np.ndarray]:
    packed = pixels.astype(np.int64) @ (1 << 24, 1 << 16, 1 << 8, 1)
    found, places = _unique(packed)
    if len(found) > MAX_COLORS:
        raise ValueError(f"it has {len(found)} colours, as a photo does. A label has one for each class")
    colors = np.stack([found >> 24, found >> 16 & 255, found >> 8 & 255], -1)
    return LabelSymbols(COLORS, bits, np.full(len(found), -1), colors, found & 255), places


def _read_deep(path: str | os.PathLike, image: Image.Image, color_type: int) -> tuple[LabelSymbols, np.ndarray]:
    if color_type == 4 or "transparency" in image.info:
        raise ValueError("it has 16 bits per channel and transparency; save it with 8 bits and without")
    if color_type == 0:
        found, places = _unique(np.asarray(image).astype(np.int64))
        levels = np.where(found % 257 == 0, found // 257, -1)  # as shown, where 8 bits can show it
        return LabelSymbols(GREY, 16, found, levels[:, None].repeat(3, 1), np.full(len(found), 255)), places
    pixels = video_files.read_image(os.fspath(path), "rgba64le")
    if not (pixels % 257).any():
        pixels = pixels // 257
    elif not (pixels[..., :3] & 255).any() and (pixels[..., 3] == 65535).all():
        pixels = pixels >> 8
    elif pixels[..., :3].max() < 256 and (pixels[..., 3] == 65535).all():
        pixels[..., 3] = 255
    else:
        raise ValueError("it has 16 bits per channel, and its colours are not those of 8 bits; save it with 8 bits")
    return _read_colors(pixels, 16)


def _unique(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different values [N] int, and which of them each is, [H, W]."""
    values = values.astype(np.int64)
    if values.max() < 1 << 16:  # counting is much faster than sorting
        found = np.flatnonzero(np.bincount(values.ravel()))
        table = np.zeros(1 << 16, np.int64)
        table[found] = np.arange(len(found))
        return found, table[values]
    found, places = np.unique(values, return_inverse=True)
    return found, places.reshape(values.shape)


def _names(image: Image.Image) -> dict[int, str] | None:
    text = image.info.get(CLASSES_KEY)
    if not isinstance(text, str):
        return None
    try:
        content = json.loads(text)
        return {int(value): str(name) for value, name in content.items()}
    except (ValueError, AttributeError, RecursionError):
        return None


def class_text(names: dict[int, str]) -> str:
    """Returns the text that a label file of these values and classes has under `CLASSES_KEY`."""
    return json.dumps(names)
