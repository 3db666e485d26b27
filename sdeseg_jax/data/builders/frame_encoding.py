"""Decodes, resizes and encodes frames for storage, in worker processes; needs no TensorFlow."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from sdeseg_jax.data import video_files
from sdeseg_jax.data.builders.image_reading import ORIENTATION, open_image, read_image
from sdeseg_jax.data.builders.label_pixels import read_label
from sdeseg_jax.data.builders.label_reading import decode_label
from sdeseg_jax.data.builders.scanned_clips import Frame, LabelFormat
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import VOID

QUALITY = 95
"""Of JPEG images. Blocks of 2x2 pixels share their colour (4:2:0), as in the video that they come from."""


_SWAPPED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclasses.dataclass(frozen=True)
class Task:
    """A frame to encode.

    Attributes:
      size: (width, height) to store.
      labels: None if the dataset stores no labels; frames without a label file get one that is all void.
      stereo: whether the dataset stores stereo disparity; frames without one get zeros (unknown).
    """

    frame: Frame
    size: tuple[int, int]
    labels: LabelFormat | None = None
    stereo: bool = False


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why a frame cannot be stored as it is.

    Attributes:
      kind: "corrupt" or "corrupt label" (a file cannot be decoded), "label size" (differs from its image), "label"
        (unknown classes) or "camera" (intrinsics for another image).
      message: names the file.
      unlabeled: the encoded frame without its label, if the kind is "corrupt label" or "label size".
    """

    kind: str
    message: str
    unlabeled: dict | None = None


def encode_frame(task: Task) -> dict | Problem:
    """Encodes one frame.

    Returns:
      `image` JPEG bytes; `label` PNG bytes of train ids, `stereo_disparity` PNG bytes if the dataset has them;
      `intrinsics` [3, 3] float32. Or the problem with the frame.
    """
    frame = task.frame
    try:
        image = _read_frame(frame)
    except Exception as error:  # damaged files raise many types: struct.error, SyntaxError, …
        return Problem("corrupt", f"{_name(frame)}: {_reason(error)}")
    stored = _fit(image, task.size, Image.Resampling.LANCZOS)
    result = {"image": _encode(stored, "JPEG", quality=QUALITY, subsampling="4:2:0")}
    try:
        result["intrinsics"] = np.full((3, 3), np.nan, np.float32)
        if frame.camera is not None:
            result["intrinsics"] = frame.camera.matrix(image.size, task.size)
    except SourceError as error:
        return Problem("camera", f"{_name(frame)}: {error}")
    if task.stereo:
        try:
            result["stereo_disparity"] = _encode_stereo(frame, task.size)
        except Exception as error:
            return Problem("corrupt", f"{frame.stereo_disparity}: {_reason(error)}")
    if task.labels is None:
        return result
    label = _encode_label(frame, image.size, task)
    if not isinstance(label, Problem):
        return result | {"label": label}
    if label.kind == "label":  # never skipped: the list of classes is wrong, not the file
        return label
    return dataclasses.replace(label, unlabeled=result | {"label": _void_label(task.size)})


def image_size(paths: Iterable[pathlib.Path]) -> tuple[int, int]:
    """Returns (width, height), as displayed, of the first readable image or video; raises SourceError without one."""
    problem: Exception | None = None
    for path in paths:
        try:
            if path.suffix.lower() in video_files.VIDEO_SUFFIXES:
                return video_files.frame_size(path)
            with open_image(path) as image:
                # For TIFF, some versions of Pillow return the size as displayed; the tags have it as stored.
                size = (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size
                return size[::-1] if image.getexif().get(ORIENTATION) in _SWAPPED else size
        except Exception as error:  # damaged files raise many types; preparing reports them all
            problem = problem or SourceError(f"{path}: {error}")
    raise problem or SourceError("no images are given")


def _name(frame: Frame) -> str:
    return frame.image if frame.video_index is None else f"{frame.image}, frame {frame.video_index}"


def _reason(error: Exception) -> str:
    return f"cannot be decoded ({str(error) or type(error).__name__})"


def _read_frame(frame: Frame) -> Image.Image:
    if frame.video_index is not None:
        return Image.fromarray(video_files.read_frame(frame.image, frame.video_index))
    return read_image(frame.image, frame.bit_depth)


def _encode_label(frame: Frame, image_size: tuple[int, int], task: Task) -> bytes | Problem:
    if frame.label is None:
        return _void_label(task.size)
    try:
        if task.labels.deep:
            symbols, pixels = None, _read_deep(frame.label)
        else:
            symbols, pixels = read_label(frame.label)
    except Exception as error:
        return Problem("corrupt label", f"{frame.label}: {_reason(error)}")
    size = (pixels.shape[1], pixels.shape[0])
    if size != image_size:
        return Problem(
            "label size", f"{frame.label}: {size[0]}x{size[1]}, but its image is {image_size[0]}x{image_size[1]}"
        )
    try:
        if symbols is None:
            label = task.labels.decode(pixels)
        else:
            label = decode_label(symbols, pixels, task.labels, frame.label_reading)
    except SourceError as error:
        return Problem("label", f"{frame.label}: {error}")
    return _encode(_fit(Image.fromarray(label), task.size, Image.Resampling.NEAREST))


def _read_deep(path: str) -> np.ndarray:
    """Returns [H, W, C] of a PNG with 16 bits per channel, which Pillow would cut to 8."""
    open_image(path).close()  # checks the size in the header
    return video_files.read_image(path, "rgb48le")


def _encode_stereo(frame: Frame, size: tuple[int, int]) -> bytes:
    if frame.stereo_disparity is None:
        return _no_stereo(size)
    with open_image(frame.stereo_disparity) as image:
        values = np.asarray(image).astype(np.uint16)
    # Nearest: averages with unknown pixels (0) would be wrong depths.
    rows = ((np.arange(size[1]) + 0.5) * values.shape[0] / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * values.shape[1] / size[0]).astype(int)
    return _encode(Image.fromarray(values[rows[:, None], columns]))


@functools.cache
def _void_label(size: tuple[int, int]) -> bytes:
    return _encode(Image.new("L", size, VOID))


@functools.cache
def _no_stereo(size: tuple[int, int]) -> bytes:
    return _encode(Image.fromarray(np.zeros((size[1], size[0]), np.uint16)))


def _fit(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, resampling)


def _encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
