"""Opens video files with PyAV (FFmpeg) and decodes their frames, from the first one that can be decoded."""

import contextlib
import pathlib
from collections.abc import Iterator

import av
from av.stream import Disposition


def open_file(path: str | pathlib.Path, *arguments, **settings):
    """Opens a file with FFmpeg, which would take a colon in a plain name for a protocol."""
    return av.open(f"file:{path}", *arguments, **settings)


@contextlib.contextmanager
def open_video(path: str | pathlib.Path, **settings) -> Iterator[tuple]:
    """Opens a video file; gives its container and its video.

    Raises:
      ValueError: the file is not a video.
    """
    try:
        container = open_file(path, **settings)
    except av.FFmpegError as error:
        raise ValueError(f"cannot be read as a video ({error.strerror})") from error
    with container:
        videos = video_streams(container)
        if not videos:
            raise ValueError("holds no video")
        yield container, videos[0]


def video_streams(container) -> list:
    """Returns the videos of an open file, without the pictures that files carry as their cover."""
    return [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]


def decode_frames(path: str | pathlib.Path) -> Iterator[av.VideoFrame]:
    """Yields the frames of a video file that are shown, in order.

    What was cut away by an edit list is not shown. Pictures before the first key frame, which a file has that was cut
    without encoding it again, cannot be decoded: some decoders would return them grey.

    Raises:
      ValueError: the file is not a video.
      av.FFmpegError: a frame is damaged.
    """
    skipped = packets_before_first_key(path)
    with open_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if skipped:
                skipped -= 1
            else:
                yield from packet.decode()
        yield from stream.decode(None)


def packets_before_first_key(path: str | pathlib.Path) -> int:
    """Returns how many packets come before the first key frame; 0 for a file that marks none."""
    with open_video(path) as (container, stream), contextlib.suppress(av.FFmpegError):
        for number, packet in enumerate(packet for packet in container.demux(stream) if packet.size):
            if packet.is_keyframe:
                return number
    return 0
