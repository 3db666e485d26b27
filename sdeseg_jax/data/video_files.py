"""Reads and writes video files, and reads images that Pillow cannot, through PyAV (FFmpeg)."""

import contextlib
import functools
import os
import pathlib
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from sdeseg_jax.data.video_decoding import decode_frames, open_file, open_video
from sdeseg_jax.data.video_frame_count import content_once_read, count_frames, video_content
from sdeseg_jax.data.video_shape import pixel_aspect, shown, turns
from sdeseg_jax.storage.atomic_files import TEMPORARY

__all__ = [
    "VIDEO_SUFFIXES",
    "VideoWriter",
    "count_frames",
    "frame_rate",
    "frame_size",
    "iterate_frames",
    "read_frame",
    "read_image",
    "stated_frames",
    "stored_shape",
    "video_content",
]

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v"),
    *(".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf", ".flv", ".ogv", ".mxf"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".dv"),
    *(".hevc", ".h265", ".265", ".h264", ".264", ".avc", ".av1", ".obu", ".ivf", ".mjpeg", ".mjpg"),
)
"""Endings of files that are read as videos, in lower case; what is in them is told by their content."""


def frame_size(path: str | pathlib.Path) -> tuple[int, int]:
    """Returns (width, height) of what `read_frame` returns; raises ValueError if the first frame cannot be decoded."""
    try:
        with contextlib.closing(_Reader(str(path))) as reader:
            height, width, _ = reader.read(0).shape
    except av.FFmpegError as error:
        raise ValueError(f"cannot be read as a video ({error.strerror})") from error
    return width, height


def stored_shape(path: str | pathlib.Path) -> tuple[tuple[int, int], Fraction]:
    """Returns (width, height) in pixels as stored, but turned as shown, and the width of such a pixel over its height.

    Raises:
      ValueError: the first frame cannot be decoded.
    """
    with open_video(path) as (_, stream):
        aspect = pixel_aspect(stream)
    try:
        with contextlib.closing(decode_frames(path)) as frames:
            frame = next(frames, None)
    except av.FFmpegError as error:
        raise ValueError(f"cannot be read as a video ({error.strerror})") from error
    if frame is None:
        raise ValueError("holds no frame that can be decoded")
    swapped, _, _ = turns(frame)
    return ((frame.height, frame.width), 1 / aspect) if swapped else ((frame.width, frame.height), aspect)


class _Reader:
    """Reads a video file forwards; to go back, it starts again from the first frame."""

    def __init__(self, path: str):
        self._path = path
        with open_video(path) as (_, stream):
            self._aspect = pixel_aspect(stream)
        self._restart()

    def _restart(self):
        self._frames, self._next = decode_frames(self._path), 0

    def close(self):
        self._frames.close()

    def read(self, index: int) -> np.ndarray:
        if index < self._next:
            self.close()
            self._restart()
        for frame in self._frames:
            self._next += 1
            if self._next == index + 1:
                return shown(frame, self._aspect)
        # The video ended, or a frame is damaged: then the numbers of the following ones are unknown.
        reason = content_once_read(self._path, self._next).broken
        raise ValueError(f"the video cannot be read beyond its first {self._next} frames{f'; {reason}' * bool(reason)}")


@functools.lru_cache(maxsize=1)
def _reader(path: str) -> _Reader:
    return _Reader(path)


def read_frame(path: str, index: int) -> np.ndarray:
    """Returns frame `index` of a video file as players show it, [H, W, 3] uint8; cheap for increasing indices.

    The first frame is the first that is shown and can be decoded, see `video_decoding.decode_frames`.

    Raises:
      ValueError, av.FFmpegError: the file cannot be decoded, or has fewer frames.
    """
    return _reader(path).read(index)


def iterate_frames(path: str, notes: list[str] | None = None) -> Iterator[np.ndarray]:
    """Yields all frames of a video file as players show them, [H, W, 3] uint8.

    Args:
      path: of the file.
      notes: receives, behind the last frame, what is not used of the file and how its shape is changed.

    Raises:
      ValueError: the file is not a video, or is damaged; the message says after how many frames.
    """
    number = 0
    try:
        with open_video(path) as (_, stream):
            aspect = pixel_aspect(stream)
        for frame in decode_frames(path):
            yield shown(frame, aspect)
            number += 1
    except av.FFmpegError as error:
        where = f"beyond its first {number} frames" if number else "as a video"
        raise ValueError(f"cannot be read {where} ({error.strerror})") from error
    if not number:
        raise ValueError("holds no frame that can be decoded")
    content = content_once_read(path, number)
    if content.broken:
        raise ValueError(f"cannot be read beyond its first {number} frames; {content.broken}")
    if notes is not None:
        notes += content.notes


def stated_frames(path: str) -> int:
    """Returns the number of frames that a video file states, or an estimate from its duration; 0 if it states neither.

    Raises:
      ValueError: it is not a video.
    """
    with open_video(path) as (container, stream):
        rate, duration = stream.average_rate, container.duration
        # An edit list shortens the duration, not the number of frames in an MP4's header.
        estimate = round(float(rate) * duration / av.time_base) if rate and duration else 0
        return min(stream.frames, estimate) if stream.frames and estimate else stream.frames or estimate


def frame_rate(path: str) -> Fraction | None:
    """Returns the frames per second that a video file states, if any. Raises ValueError if it is not a video."""
    with open_video(path) as (_, stream):
        rate = stream.average_rate  # PyAV 19 has a class of its own for it
        return Fraction(rate.numerator, rate.denominator) if rate else None


class VideoWriter:
    """Context that writes an MP4 file to `path`, under a temporary name until it is complete."""

    def __init__(self, path: str | pathlib.Path, rate: Fraction):
        self.path, self._rate, self._stream = pathlib.Path(path), rate, None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(self.path.name + TEMPORARY)
        self._container = open_file(self._temporary, "w", format="mp4")

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame [H, W, 3] uint8; all need the size of the first. An odd last row or column is cut off."""
        height, width = (side - side % 2 for side in frame.shape[:2])
        if self._stream is None:
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            self._stream = self._container.add_stream(codec, rate=self._rate.limit_denominator(60_000))
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.options = {"crf": "20"} if codec == "libx264" else {"qscale": "3"}
        shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
        self._container.mux(self._stream.encode(shown))

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        finished, complete = kind is None and self._stream is not None, False
        try:
            if finished:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            complete = finished  # not on a full disk, for example
        finally:
            if complete:
                os.replace(self._temporary, self.path)
            else:
                self._temporary.unlink(missing_ok=True)


def read_image(path: str, pixel_format: str) -> np.ndarray:
    """Returns an image file in one of FFmpeg's pixel formats, e.g. "rgb48le" for [H, W, 3] uint16."""
    with open_file(path) as container:
        return next(container.decode(video=0)).to_ndarray(format=pixel_format)
