"""Every container and codec that is read: whole, trimmed by an edit list, cut between key frames, and broken off."""

import functools
import pathlib
import shutil
import struct
import types

import av
import numpy as np
import pytest
from av.stream import Disposition

from sdeseg_jax.data.video_decoding import video_streams
from sdeseg_jax.data.video_files import VIDEO_SUFFIXES, count_frames, frame_size, iterate_frames, read_frame
from sdeseg_jax.data.video_frame_count import missing_bytes, video_content

FRAMES, SIDE, KEYS = 24, 64, 8
"""Of the videos: their length, their width and height, and the distance of key frames."""

_SCENE = np.kron(np.random.default_rng(0).integers(0, 256, (16, 16, 3)), np.ones((4, 4, 1))).astype(np.uint8)

ENCODERS = {
    "h264": ("libx264", {"x264-params": f"open-gop=1:keyint={KEYS}:min-keyint={KEYS}:scenecut=0:b-adapt=0:bframes=2"}),
    "hevc": ("libx265", {"x265-params": f"keyint={KEYS}:min-keyint={KEYS}:scenecut=0:bframes=2:b-adapt=0:log-level=0"}),
    "mpeg2": ("mpeg2video", {"bf": "2"}),
    "mpeg4": ("mpeg4", {"bf": "2"}),
    "vp8": ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "12"}),
    "vp9": ("libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "12"}),
    "av1": ("libsvtav1", {"preset": "12"}),
    "wmv2": ("wmv2", {}),
    "mjpeg": ("mjpeg", {}),
}
CONTAINERS = {
    "h264": "mp4 MOV mkv ts avi m2ts mts 3gp flv h264",
    "hevc": "mp4 mov mkv ts hevc",
    "mpeg2": "mp4 mov mkv ts avi mpg vob m2v",
    "mpeg4": "mp4 mov mkv avi",
    "vp8": "webm mkv avi",
    "vp9": "mp4 mkv webm avi",
    "av1": "mp4 mkv webm avi",
    "wmv2": "wmv asf AVI",
    "mjpeg": "mov mkv avi",
}
PAIRS = [(codec, ending) for codec, endings in CONTAINERS.items() for ending in endings.split()]


def encode(path, codec, **options):
    """Writes the frames; skips where there is no encoder."""
    name, settings = ENCODERS[codec]
    if name not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {name}")
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream(name, rate=10, options=settings)
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.codec_context.gop_size = "yuvj420p" if codec == "mjpeg" else "yuv420p", KEYS
        for i in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(_SCENE, 2 * i, 1)), format="rgb24")
            file.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        file.mux(stream.encode())
    return path


def copy_packets(source, target, first):
    """Copies the packets from number `first` on, without encoding them again, as video cutters do."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for number, packet in enumerate(packet for packet in old.demux(video=0) if packet.size):
            if number >= first:
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Returns a function that writes the video, from a packet on; the whole one of a codec and an ending only once."""
    folder = tmp_path_factory.mktemp("videos")

    @functools.cache
    def run(codec, ending, first=0, **options):
        path = folder / f"{codec}_{first}_{len(options)}.{ending}"
        return copy_packets(run(codec, ending), path, first) if first else encode(path, codec, **options)

    return run


def assert_consistent(path):
    """All ways of reading a file agree; returns its frames."""
    frames = list(iterate_frames(str(path)))
    assert count_frames(path) == len(frames) and frame_size(path) == (SIDE, SIDE)
    for i in (len(frames) - 1, 0, len(frames) // 2, 1 % len(frames)):
        np.testing.assert_array_equal(read_frame(str(path), i), frames[i])
    with pytest.raises(ValueError, match=f"cannot be read beyond its first {len(frames)} frames"):
        read_frame(str(path), len(frames))
    return frames


@pytest.mark.parametrize(("codec", "ending"), PAIRS)
def test_whole_and_cut_between_key_frames(write, codec, ending):
    assert f".{ending.lower()}" in VIDEO_SUFFIXES
    whole = assert_consistent(write(codec, ending))
    assert len(whole) == FRAMES and not video_content(write(codec, ending)).notes
    for first in (3, KEYS, KEYS + 3):
        path = write(codec, ending, first)
        frames, content = assert_consistent(path), video_content(path)
        # What is left is the end of the video, without frames that lack what they refer to.
        assert FRAMES - first - KEYS - 3 <= len(frames) <= FRAMES - first and not content.broken
        np.testing.assert_array_equal(frames, whole[-len(frames) :])
        if len(frames) < FRAMES - first and codec != "vp8":  # which has packets that are never shown
            assert content.notes[0].startswith(f"{len(frames)} of {FRAMES - first} frames are read; ")


@pytest.mark.parametrize(("codec", "ending"), [pair for pair in PAIRS if pair[1].lower() in ("mp4", "mov", "3gp")])
@pytest.mark.parametrize(("first", "last"), [(0, 10), (5, FRAMES), (KEYS, 2 * KEYS), (11, 13), (0, FRAMES)])
def test_trimmed_by_an_edit_list(write, tmp_path, codec, ending, first, last):
    whole = write(codec, ending)
    path = tmp_path / f"trimmed.{ending}"
    shutil.copyfile(whole, path)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        step = file.streams.video[0].duration // FRAMES
    place = content.index(b"elst") + 12  # behind the name, the version and the number of entries
    _, start = struct.unpack_from(">ii", content, place)
    scale = struct.unpack_from(">i", content, content.index(b"mvhd") + 16)[0]
    struct.pack_into(">ii", content, place, (last - first) * scale // 10, start + first * step)
    path.write_bytes(content)
    frames = assert_consistent(path)
    np.testing.assert_array_equal(frames, list(iterate_frames(str(whole)))[first:last])
    found = video_content(path)
    assert not found.broken and bool(found.notes) == (last - first < FRAMES)
    assert all("an edit list hides the others" in note for note in found.notes)


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("mkv", {}),
        ("avi", {}),
        ("mp4", {"movflags": "faststart"}),
        ("mov", {"movflags": "faststart"}),
        ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_a_file_that_broke_off_is_an_error(write, tmp_path, ending, options, share):
    whole, path = write("mpeg4", ending, **options), tmp_path / f"broken.{ending}"
    assert not video_content(whole).broken and missing_bytes(whole) == 0
    path.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    content, read = video_content(path), []
    with pytest.raises(ValueError, match="cannot be read beyond its first"):
        for frame in iterate_frames(str(path)):
            read.append(frame)
    assert content.broken and 0 < len(read) < content.frames <= FRAMES + 1
    with pytest.raises((ValueError, av.FFmpegError)):
        read_frame(str(path), content.frames - 1)


def test_the_cover_of_a_file_is_not_its_video():
    cover, film = (
        types.SimpleNamespace(disposition=one)
        for one in (Disposition.attached_pic | Disposition.default, Disposition(0))
    )
    container = types.SimpleNamespace(streams=types.SimpleNamespace(video=(cover, film)))
    assert video_streams(container) == [film]


@pytest.mark.parametrize(
    ("name", "frames", "note"),
    [
        ("trim_end.mp4", 20, "20 of 60 frames in the file are shown; an edit list"),
        ("trim_start.mp4", 30, "30 of 60 frames in the file are shown; an edit list"),
        ("keycut_h264_ts.mkv", 45, "45 of 47 frames are read; the first 2 cannot be decoded"),
        ("hevc_cut15_mp4.mp4", 30, "30 of 45 frames are read; the first 15 cannot be decoded"),
        ("h264_cut7.ts", 45, "45 of 53 frames are read; the first 8 cannot be decoded"),
    ],
)
def test_videos_that_other_tools_cut(name, frames, note):
    path = pathlib.Path(__file__).parent / "videos" / name
    content, notes = video_content(path), []
    assert content.frames == len(list(iterate_frames(str(path), notes))) == frames and not content.broken
    assert list(content.notes) == notes and len(notes) == 1 and notes[0].startswith(note)


@pytest.mark.parametrize("size", [0, 1, 4, 8, 12, 20, 40])
def test_sizes_of_containers_that_end_anywhere_are_read(tmp_path, size):
    heads = b"RIFF\xff\xff\xff\xffAVI LIST", b"\x1a\x45\xdf\xa3\xa3" + bytes(40), b"\0\0\0\x18ftypisom\0\0\0\x20moof"
    for head in heads:
        (tmp_path / "a").write_bytes(head[:size])
        assert missing_bytes(tmp_path / "a") >= 0
