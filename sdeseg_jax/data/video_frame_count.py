"""Counts the frames of a video file that can be read, and says what is missing: trimmed, cut, or broken off."""

import dataclasses
import os
import pathlib

import av

from sdeseg_jax.data.video_decoding import decode_frames, open_video, video_streams
from sdeseg_jax.data.video_shape import pixel_aspect, square_size

_PICTURES_THAT_ARE_NOT_SHOWN = ("vp8",)
"""Codecs whose packets may hold a picture that others refer to and that is never shown."""


@dataclasses.dataclass(frozen=True)
class VideoContent:
    """What a video file holds.

    Attributes:
      frames: number of frames from the first that can be decoded. Of a file that broke off, as many as its header
        counts, or, where it counts none, one more than can be read, so that reading all is an error.
      broken: why not all of them can be read; empty for a healthy file.
      notes: what is not used of it, or is shown in another shape than it is stored in; for people.
    """

    frames: int
    broken: str = ""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Packets:
    """What is known without decoding.

    Attributes:
      shown, hidden: number of packets with a picture, without those that an edit list cuts away, and of those.
      stated: number of frames that the header counts; 0 where it counts none.
      before_key: packets before the first key frame.
      leading: packets behind the first key frame that are shown before it: they refer to what was before.
      one_each: each packet that is shown is one frame, if it can be decoded.
      are_frames: and certainly can be decoded.
      damaged_end: the last packet is not complete.
    """

    shown: int
    hidden: int
    stated: int
    before_key: int
    leading: int
    one_each: bool
    are_frames: bool
    damaged_end: bool


def video_content(path: str | pathlib.Path) -> VideoContent:
    """Returns what a video file holds; decodes it only where its packets leave open how many frames they give.

    Raises:
      ValueError: the file is not a video, or holds no frame.
    """
    packets = _read_packets(path)
    broken, frames, error = _why_broken(path, packets), packets.shown, ""
    if not packets.are_frames:
        frames, error = _decode_all(path)
    if error:
        broken = f"it cannot be read beyond its first {frames} frames ({error})"
    notes = _notes(path, packets, frames)
    if not frames:
        raise ValueError(f"holds no frame{' that can be decoded' * bool(packets.shown)}{f'; {broken}' * bool(broken)}")
    if broken:
        frames = max(frames + 1, packets.shown if error else 0, packets.stated - packets.hidden)
    return VideoContent(frames, broken, notes)


def count_frames(path: str | pathlib.Path) -> int:
    """Returns the number of frames of a video file, see `VideoContent`; raises ValueError if it has none."""
    return video_content(path).frames


def content_once_read(path: str | pathlib.Path, frames: int) -> VideoContent:
    """Returns what a video file holds of which `frames` were decoded, up to its end; does not decode it again."""
    packets = _read_packets(path)
    return VideoContent(frames, _why_broken(path, packets), _notes(path, packets, frames))


def _read_packets(path: str | pathlib.Path, **options: str) -> _Packets:
    stamps, hidden, keys, damaged, damaged_end, first_key = [], 0, 0, False, False, None
    with open_video(path, options=options) as (container, stream):
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                damaged_end = packet.is_corrupt
                damaged |= packet.is_corrupt
                keys += packet.is_keyframe
                if packet.is_keyframe and first_key is None:
                    first_key = len(stamps) + hidden, packet.pts
                if packet.is_discard:
                    hidden += 1
                else:
                    stamps.append(packet.pts)
        except av.FFmpegError as error:
            if not stamps:
                raise ValueError(f"cannot be read as a video ({error.strerror})") from error
            damaged = damaged_end = True
        stated = stream.frames if "mp4" in container.format.name else 0  # elsewhere the header's may be wrong
        codec = stream.codec_context.name
        damaged_end &= container.format.name != "mpegts"  # a recording of a stream may begin and end anywhere
    key, key_stamp = first_key or (0, None)
    leading = sum(stamp is not None and key_stamp is not None and stamp < key_stamp for stamp in stamps[max(key, 1) :])
    one_each = None not in stamps and len(set(stamps)) == len(stamps) and codec not in _PICTURES_THAT_ARE_NOT_SHOWN
    # Files that mark no key frames are read as if all were; then a cut is not seen.
    are_frames = one_each and keys < len(stamps) and not (damaged or hidden or key or leading)
    return _Packets(len(stamps), hidden, stated, key, leading, one_each, are_frames, damaged_end)


def _decode_all(path: str | pathlib.Path) -> tuple[int, str]:
    """Returns how many frames can be decoded, and the error that ends them, if one does."""
    number = 0
    try:
        for _ in decode_frames(path):
            number += 1
    except av.FFmpegError as error:
        return number, error.strerror
    return number, ""


def _why_broken(path: str | pathlib.Path, packets: _Packets) -> str:
    if missing := missing_bytes(path):
        return f"the file broke off, {missing} bytes are missing"
    if packets.damaged_end:
        return "the file broke off within a frame"
    if packets.shown + packets.hidden < packets.stated:  # an edit list hides frames, too
        there = _read_packets(path, ignore_editlist="1")
        if there.shown < there.stated:
            return f"the file broke off, it ends after {there.shown} of {there.stated} frames"
    return ""


def _notes(path: str | pathlib.Path, packets: _Packets, frames: int) -> tuple[str, ...]:
    return (*_cut_notes(packets, frames), *_shape_notes(path))


def _cut_notes(packets: _Packets, frames: int) -> list[str]:
    notes, lost = [], packets.shown - frames
    if lost > 0 and (packets.one_each or packets.before_key or packets.leading):
        which = f"the first {lost}" if packets.before_key or packets.leading else f"{lost}"
        notes.append(
            f"{frames} of {packets.shown} frames are read; {which} cannot be decoded, because they depend on frames "
            "that were cut away"
        )
    if (total := max(packets.stated, packets.shown + packets.hidden)) > packets.shown:
        notes.append(f"{packets.shown} of {total} frames in the file are shown; an edit list hides the others")
    return notes


def _shape_notes(path: str | pathlib.Path) -> list[str]:
    notes = []
    with open_video(path) as (container, stream):
        aspect, (width, height) = pixel_aspect(stream), (stream.width, stream.height)
        if aspect != 1:
            new = "{}x{}".format(*square_size(width, height, aspect))
            notes.append(
                f"its pixels are not square ({aspect.numerator}:{aspect.denominator}); frames are stretched from "
                f"{width}x{height} to {new}, as players show them"
            )
        if (number := len(video_streams(container))) > 1:
            notes.append(f"it holds {number} videos; the first is used")
    return notes


def missing_bytes(path: str | pathlib.Path) -> int:
    """Returns by how many bytes a file is shorter than its container says; 0 where it does not say.

    It is read from the sizes of a Matroska segment, of an AVI's RIFF list and of the parts of a fragmented MP4. Other
    MP4 files count their frames, and MPEG transport streams may end anywhere.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(128)
        if head[:4] == b"RIFF" and head[8:11] == b"AVI":
            return max(0, 8 + int.from_bytes(head[4:8], "little") - size)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return _missing_of_matroska(head, size)
        if head[4:8] in (b"ftyp", b"styp"):
            return _missing_of_fragments(file, size)
    return 0


def _missing_of_matroska(head: bytes, size: int) -> int:
    header, start = _ebml_size(head, 4)
    segment = start + (header or 0)
    if header is None or head[segment : segment + 4] != b"\x18\x53\x80\x67":
        return 0
    length, start = _ebml_size(head, segment + 4)
    return 0 if length is None else max(0, start + length - size)


def _ebml_size(head: bytes, place: int) -> tuple[int | None, int]:
    """Returns the size that EBML states at a place, None if it is unknown, and the place behind it."""
    first = head[place] if place < len(head) else 0
    width = 9 - first.bit_length()
    value = int.from_bytes(head[place : place + width], "big") & ((1 << 7 * width) - 1)
    unknown = width > 8 or value == (1 << 7 * width) - 1
    return None if unknown else value, place + width


def _missing_of_fragments(file, size: int) -> int:
    """Walks the boxes of an MP4 file up to the one that the file's end cuts, if it comes behind a `moof`."""
    place, fragmented = 0, False
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        length = int.from_bytes(head[8:], "big") if length == 1 else length
        fragmented |= kind == b"moof"
        if length < 8 or kind not in _BOXES:  # to the end of the file, or something behind the boxes
            return 0
        place += length
    return place - size if fragmented and place > size else 0


_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"free", b"skip", b"uuid", b"mfra", b"emsg", b"prft")
