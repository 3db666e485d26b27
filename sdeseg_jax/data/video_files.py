"""Reads and writes video files, and reads images that Pillow cannot, through PyAV (FFmpeg)."""

import contextlib
import functools
import os
import pathlib
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from sdeseg_jax.storage.atomic_files import TEMPORARY

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts")


def _open(path: str | pathlib.Path, *arguments, **settings):
    """Opens a file with FFmpeg, which would take a colon in a plain name for a protocol."""
    return av.open(f"file:{path}", *arguments, **settings)


def count_frames(path: str | pathlib.Path) -> int:
    """Returns the number of frames of a video file from its packets, without decoding them.

    For an MP4 or MOV file that was cut off after its header, this is the number that it should have.

    Raises:
      ValueError: the file is not a video, or holds no frame.
    """
    shown = hidden = 0
    try:
        with _open(path) as container:
            if not container.streams.video:
                raise ValueError("holds no video")
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if packet.size and packet.is_discard:  # cut away by an edit; the decoder does not return it
                    hidden += 1
                elif packet.size:
                    shown += 1
            if "mp4" in container.format.name:  # elsewhere the header's number may be wrong
                shown = max(shown, stream.frames - hidden)
    except av.FFmpegError as error:
        raise ValueError(f"cannot be read as a video ({error.strerror})") from error
    if not shown:
        raise ValueError("holds no frame")
    return shown


def frame_size(path: str | pathlib.Path) -> tuple[int, int]:
    """Returns (width, height) of what `read_frame` returns; raises ValueError if the first frame cannot be decoded."""
    try:
        with contextlib.closing(_Reader(str(path))) as reader:
            height, width, _ = reader.read(0).shape
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"cannot be read as a video ({getattr(error, 'strerror', 'it holds no video')})") from error
    return width, height


def _shown(frame: av.VideoFrame) -> np.ndarray:
    # Phones store upright video on its side, with the angle by which to turn it.
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


class _Reader:
    """Reads a video file forwards; to go back, it starts again from the first frame."""

    def __init__(self, path: str):
        self._path = path
        self._restart()

    def _restart(self):
        self._container = _open(self._path)
        self._container.streams.video[0].thread_type = "AUTO"
        self._frames, self._next = self._container.decode(video=0), 0

    def close(self):
        self._container.close()

    def read(self, index: int) -> np.ndarray:
        if index < self._next:
            self.close()
            self._restart()
        for frame in self._frames:
            self._next += 1
            if self._next == index + 1:
                return _shown(frame)
        # The video ended, or a frame is damaged: then the numbers of the following ones are unknown.
        raise ValueError(f"the video cannot be read beyond its first {self._next} frames")


@functools.lru_cache(maxsize=1)
def _reader(path: str) -> _Reader:
    return _Reader(path)


def read_frame(path: str, index: int) -> np.ndarray:
    """Returns frame `index` of a video file as players show it, [H, W, 3] uint8; cheap for increasing indices.

    Raises:
      ValueError, av.FFmpegError: the file cannot be decoded, or has fewer frames.
    """
    return _reader(path).read(index)


def iterate_frames(path: str) -> Iterator[np.ndarray]:
    """Yields all frames of a video file as players show them, [H, W, 3] uint8.

    Raises:
      ValueError: the file is not a video, or is damaged; the message says after how many frames.
    """
    number = 0
    try:
        with _open(path) as container:
            if not container.streams.video:
                raise ValueError("holds no video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                yield _shown(frame)
                number += 1
            expected = stream.frames if "mp4" in container.format.name else 0
    except av.FFmpegError as error:
        where = f"beyond its first {number} frames" if number else "as a video"
        raise ValueError(f"cannot be read {where} ({error.strerror})") from error
    if not number:
        raise ValueError("holds no frame")
    if number < expected and number < count_frames(path):
        raise ValueError(f"ends after {number} of {expected} frames")


def stated_frames(path: str) -> int:
    """Returns the number of frames that a video file states, or an estimate from its duration; 0 if it states neither.

    Raises:
      ValueError: it is not a video.
    """
    try:
        with _open(path) as container:
            stream = container.streams.video[0]
            if stream.frames or not (stream.average_rate and container.duration):
                return stream.frames
            return round(float(stream.average_rate) * container.duration / av.time_base)
    except (av.FFmpegError, IndexError) as error:
        raise ValueError("cannot be read as a video") from error


def frame_rate(path: str) -> Fraction | None:
    """Returns the frames per second that a video file states, if any. Raises ValueError if it is not a video."""
    try:
        with _open(path) as container:
            return container.streams.video[0].average_rate if container.streams.video else None
    except av.FFmpegError as error:
        raise ValueError(f"cannot be read as a video ({error.strerror})") from error


class VideoWriter:
    """Context that writes an MP4 file to `path`, under a temporary name until it is complete."""

    def __init__(self, path: str | pathlib.Path, rate: Fraction):
        self.path, self._rate, self._stream = pathlib.Path(path), rate, None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(self.path.name + TEMPORARY)
        self._container = _open(self._temporary, "w", format="mp4")

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
    with _open(path) as container:
        return next(container.decode(video=0)).to_ndarray(format=pixel_format)
