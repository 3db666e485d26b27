"""Reads image files as displayed, in 8-bit RGB; finds how many bits the values of 16-bit files have."""

import dataclasses
import functools
import os
import pathlib
import re
import struct
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image, ImageOps

from sdeseg_jax.data import video_files
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.worker_processes import run_parallel

MAX_PIXELS = 100_000_000
"""Largest image that is read. Decoded, it takes three or six bytes per pixel in every worker."""

BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Of sensors."""

ORIENTATION = 0x0112
"""EXIF tag: how to turn the stored image."""

_DEEP_SUFFIXES = (".png", ".tif", ".tiff", ".pgm", ".ppm")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what undoes it."""

_FAR_APART = 4
"""Bits. Clips whose values differ by this much come from different cameras or programs: one of the two would be nearly
black. A dark clip of the same camera rarely stays below a quarter of the range, that is 2 bits less."""

_IN_PARALLEL = 64
"""Files from which on starting worker processes pays."""

_SURVEYED = 200
"""Files of a folder, evenly spaced, that show the bit depth of all."""

_REMEDY = (
    "Convert them to 8 bits, or multiply the values so that all files use the whole range of 16 bits; for 12-bit "
    "values: magick mogrify -evaluate Multiply 16 *.png"
)


@dataclasses.dataclass(frozen=True)
class PngHeader:
    """Facts in the first bytes of a PNG file.

    Attributes:
      bits: per channel.
      color_type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
      significant_bits: the largest number in its chunk sBIT, if it has one: the bits of the original values.
    """

    bits: int
    color_type: int
    significant_bits: int | None = None


@dataclasses.dataclass(frozen=True)
class DeepValues:
    """What the values of a file with 16 bits per channel tell about their bit depth.

    Attributes:
      largest: value.
      low_bits: bitwise or of all values, so that bits that are never used are 0.
      stated: bits according to sBIT, or 16 where the format scales values to 16 bits; None if the file does not say.
    """

    largest: int
    low_bits: int
    stated: int | None = None


def open_image(path: str | os.PathLike) -> Image.Image:
    """Opens an image file; raises ValueError above `MAX_PIXELS`: a file of a few bytes can claim to hold terabytes."""
    image = Image.open(path)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError(f"its header claims {image.width}x{image.height} pixels")
    return image


def read_image(path: str | os.PathLike, bit_depth: int = 0) -> Image.Image:
    """Returns an image file as displayed, in 8-bit RGB; transparent pixels are black.

    Args:
      bit_depth: of the values of a file with 16 bits per channel; 0: what the files of its folder show.

    Raises:
      ValueError: the range of its pixel values is unknown.
      Exception: of many types, for damaged files.
    """
    with open_image(path) as image:
        if is_deep(path, image):
            return _read_deep(path, image, bit_depth or _folder_bit_depth(pathlib.Path(path).absolute().parent))
        ImageOps.exif_transpose(image, in_place=True)  # otherwise, a phone's upright photos lie on their side
        if image.mode in ("I", "F"):
            raise ValueError(f"its pixels (Pillow mode {image.mode!r}) have neither 8 nor 16 bits")
        if "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
        return image.convert("RGB")


def png_header(path: str | os.PathLike) -> PngHeader | None:
    """Returns the facts in the header of a PNG file, None for another file."""
    with open(path, "rb") as file:
        start = file.read(33)
        if len(start) < 33 or start[:8] != _PNG_SIGNATURE or start[12:16] != b"IHDR":
            return None
        bits, color_type = start[24], start[25]
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"sBIT" and 1 <= length <= 4:
                return PngHeader(bits, color_type, max(file.read(length)))
            if kind in (b"IDAT", b"PLTE", b"IEND"):  # sBIT comes before these
                break
            file.seek(length + 4, os.SEEK_CUR)
    return PngHeader(bits, color_type)


def survey_values(path: str) -> DeepValues | None:
    """Returns the facts about a file with 16 bits per channel; None for other files, and for damaged ones."""
    try:
        with open_image(path) as image:
            if not is_deep(path, image):
                return None
            stated = _stated_bits(path, image)
            values, _ = _deep_values(path, image)
    except Exception:  # damaged files raise many types; encoding reports them
        return None
    return DeepValues(int(values.max()), int(np.bitwise_or.reduce(values, axis=None)), stated)


def bit_depth(found: Iterable[DeepValues]) -> int:
    """Returns the bit depth of the values in files with 16 bits per channel that belong together; 16 without files.

    Values up to 4095 have 12 bits, for example, unless their lowest 4 bits are never used: such files, and those whose
    format says so, use the whole range of 16 bits, and are just dark.
    """
    largest = low_bits = stated = 0
    for one in found:
        if one.stated == 16:
            return 16
        largest, low_bits, stated = max(largest, one.largest), low_bits | one.low_bits, max(stated, one.stated or 0)
    bits = stated or next(bits for bits in BIT_DEPTHS if largest < 2**bits)
    return bits if largest < 2**bits and low_bits % 2 ** (16 - bits) else 16


def survey_bit_depth(clips: Mapping[str, Iterable[str]], processes: int = 0) -> tuple[int, list[str]]:
    """Returns the bit depth of a dataset's files with 16 bits per channel, the same for all, and notes on it.

    Args:
      clips: name of a clip -> its image files; others, as videos, are left out.
      processes: worker processes that read them; 0: one per CPU.

    Raises:
      SourceError: clips differ so much that one of them would be nearly black.
    """
    named = [(clip, path) for clip, paths in clips.items() for path in dict.fromkeys(paths) if _may_be_deep(path)]
    paths = [path for _, path in named]
    if len(paths) < _IN_PARALLEL:
        surveyed: Iterable = map(survey_values, paths)
    else:
        surveyed = run_parallel("sdeseg_jax.data.builders.image_reading:survey_values", paths, processes, ahead=8)
    found: dict[str, list[DeepValues]] = {}
    for (clip, _), one in zip(named, surveyed, strict=True):
        if one is not None:
            found.setdefault(clip, []).append(one)
    return find_bit_depth(found)


def find_bit_depth(clips: Mapping[str, list[DeepValues]]) -> tuple[int, list[str]]:
    """Returns what `survey_bit_depth` does, from the facts about the files of each clip."""
    own = {name: bit_depth(found) for name, found in clips.items() if any(one.largest for one in found)}
    depth = max(own.values(), default=16)
    for name, bits in own.items():
        if depth - bits >= _FAR_APART:
            largest, brightest = max(one.largest for one in clips[name]), max(own, key=own.get)
            raise SourceError(
                f"{_clip(name)} have 16 bits per channel, but values up to {largest} only, as {bits}-bit values are; "
                f"{_clip(brightest)} use {depth} bits. Read alike, the former would be nearly black. {_REMEDY}"
            )
    if depth == 16:
        return 16, []
    largest, number = max(one.largest for found in clips.values() for one in found), sum(map(len, clips.values()))
    return depth, [
        f"{number} images have 16 bits per channel, but values up to {largest} only: they are read as {depth}-bit "
        "values. If that makes them too bright, convert them to 8 bits"
    ]


def _clip(name: str) -> str:
    return f"images of clip '{name}'" if name else "single images"


def _folder_bit_depth(folder: pathlib.Path) -> int:
    """Returns the bit depth of a folder's files with 16 bits: one file alone, if dark, would look like fewer bits."""
    return _bit_depth_of_some(str(folder), folder.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _bit_depth_of_some(folder: str, modified: int) -> int:
    del modified  # distinguishes states of the folder
    paths = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.lower().endswith(_DEEP_SUFFIXES))
    chosen = paths[:: max(1, len(paths) // _SURVEYED)]
    return bit_depth(found for path in chosen if (found := survey_values(path)))


def _may_be_deep(path: str) -> bool:
    return path.lower().endswith(_DEEP_SUFFIXES)


def is_deep(path: str | os.PathLike, image: Image.Image) -> bool:
    """Whether the file `path`, which Pillow opened as `image`, has 16 bits per channel."""
    if image.format == "PNG":
        header = png_header(path)
        return header is not None and header.bits == 16
    if image.format == "TIFF":
        return image.mode.startswith("I;16") or (image.mode in ("RGB", "RGBA") and 16 in image.tag_v2.get(258, ()))
    return image.format == "PPM" and (_netpbm_maximum(path) or 0) > 255


def _netpbm_maximum(path: str | os.PathLike) -> int | None:
    """Returns the largest value that a PGM or PPM file may hold, according to its header."""
    with open(path, "rb") as file:
        start = re.sub(rb"#[^\n]*", b"", file.read(4096))
    match = re.match(rb"P[2356]\s+\d+\s+\d+\s+(\d+)\s", start)
    return int(match[1]) if match else None


def _stated_bits(path: str | os.PathLike, image: Image.Image) -> int | None:
    if image.format == "PNG":
        return png_header(path).significant_bits
    # Readers scale values to 16 bits by the header's largest one.
    return 16 if image.format == "PPM" and _netpbm_maximum(path) < 65535 else None


def _deep_values(path: str | os.PathLike, image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns values [H, W] or [H, W, 3] and opacity [H, W, 1] or None, as stored, uint16."""
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16), None
    if "A" not in image.getbands():
        return video_files.read_image(os.fspath(path), "rgb48le"), None  # Pillow would cut values to 8 bits
    values = video_files.read_image(os.fspath(path), "rgba64le")
    return values[..., :3], values[..., 3:]


def _read_deep(path: str | os.PathLike, image: Image.Image, bits: int) -> Image.Image:
    """Returns a file with 16 bits per channel, whose values have `bits` bits, as displayed in 8-bit RGB."""
    tags = image.tag_v2 if image.format == "TIFF" else image.getexif()
    orientation = tags.get(ORIENTATION)
    with_pillow = image.mode.startswith("I")
    if with_pillow:
        ImageOps.exif_transpose(image, in_place=True)
    values, opacity = _deep_values(path, image)
    if values.max() >= 2**bits:  # possible only if the folder has more files than are surveyed
        raise ValueError(f"its values reach {values.max()}, but the files around it have {bits} bits. {_REMEDY}")
    shown = values >> (bits - 8)
    if opacity is not None:
        shown = shown * (opacity / 65535.0)
    shown = Image.fromarray(shown.astype(np.uint8)).convert("RGB")
    turn = None if with_pillow else _TURNED.get(orientation)
    return shown if turn is None else shown.transpose(turn)
