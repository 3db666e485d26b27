"""Video files: every frame in order, files that are cut off or not videos, edits, and upright video of phones."""

import itertools
import pathlib
import struct

import av
import numpy as np
import pytest

from sdeseg_jax.data.builders.frame_encoding import Problem, Task, encode_frame
from sdeseg_jax.data.builders.scanned_clips import Frame
from sdeseg_jax.data.video_files import count_frames, frame_size, read_frame

FRAMES, WIDTH, HEIGHT = 24, 64, 48


def write_video(path, codec="libx264", frames=None, container=None, **codec_options):
    """Writes frames [N, H, W, 3] uint8; by default frame i is of brightness 10 i."""
    if frames is None:
        frames = [np.full((HEIGHT, WIDTH, 3), 10 * i, np.uint8) for i in range(FRAMES)]
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=10, options=codec_options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")))
        file.mux(stream.encode())
    return path


def patch(path, box: bytes, offset: int, *values: int):
    """Overwrites 32-bit numbers of an MP4 file `offset` bytes behind the name of a box."""
    content = bytearray(path.read_bytes())
    start = content.index(box) + len(box) + offset
    content[start : start + 4 * len(values)] = struct.pack(f">{len(values)}i", *values)
    path.write_bytes(content)


def numbers(path, indices):
    return [round(read_frame(str(path), i).mean() / 10) for i in indices]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """H.264 with frames that are not stored in the order in which they are shown."""
    path = write_video(tmp_path_factory.mktemp("video") / "video.mp4", bf="3")
    with av.open(str(path)) as file:
        stamps = [packet.pts for packet in file.demux(video=0) if packet.size]
    assert stamps != sorted(stamps)
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.MOV", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "mpeg4")],
)
def test_every_frame_in_order(tmp_path, name, codec):
    path = write_video(tmp_path / name, codec)
    assert count_frames(path) == FRAMES and frame_size(path) == (WIDTH, HEIGHT)
    assert numbers(path, range(FRAMES)) == list(range(FRAMES))
    frame = read_frame(str(path), 3)
    assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8


def test_any_order_and_several_files(video, tmp_path):
    order = [5, 5, 23, 0, 1, 22, 7]
    assert numbers(video, order) == order
    other = write_video(tmp_path / "other.mp4", frames=[np.full((HEIGHT, WIDTH, 3), 200, np.uint8)] * 3)
    for path, i in itertools.product((video, other), (2, 1)):
        assert numbers(path, [i]) == [i if path == video else 20]


def test_beyond_the_end(video):
    with pytest.raises(ValueError, match=f"cannot be read beyond its first {FRAMES} frames"):
        read_frame(str(video), FRAMES)
    assert numbers(video, [4]) == [4]


@pytest.fixture(scope="module")
def cut_video(tmp_path_factory):
    """An incomplete download: it has the header, which counts all frames, and the first half of the frames."""
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    path = tmp_path_factory.mktemp("video") / "cut.mp4"
    write_video(path, "mpeg4", noise, {"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def test_a_cut_file_has_the_frames_that_its_header_counts(cut_video):
    assert count_frames(cut_video) == FRAMES and frame_size(cut_video) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("order", [range(FRAMES), reversed(range(FRAMES)), range(0, FRAMES, 2)])
def test_frames_of_a_cut_file_are_those_before_the_cut(cut_video, order):
    order = list(order)
    results = {i: encode_frame(Task(Frame("a", str(cut_video), video_index=i), (WIDTH, HEIGHT))) for i in order}
    broken = sorted(i for i, result in results.items() if isinstance(result, Problem))
    assert 5 < broken[0] < FRAMES - 5 and broken == [i for i in sorted(order) if i >= broken[0]]
    for i in broken:
        assert results[i].kind == "corrupt"
        assert results[i].message.startswith(f"{cut_video}, frame {i}: cannot be decoded")


@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>" * 99, "cut", "audio"])
def test_files_that_are_no_videos(video, tmp_path, content):
    path = tmp_path / "a.mp4"
    if content == "cut":  # the header is at the end here
        content = video.read_bytes()[: video.stat().st_size // 2]
    elif content == "audio":
        with av.open(str(path), "w") as file:
            stream = file.add_stream("aac", rate=16000, layout="mono")
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
            sound.sample_rate = 16000
            file.mux(stream.encode(sound))
            file.mux(stream.encode())
        content = path.read_bytes()
    path.write_bytes(content)
    for function in (count_frames, frame_size):
        with pytest.raises(ValueError, match="read as a video|holds no"):
            function(path)
    with pytest.raises(ValueError, match="No such file"):
        count_frames(tmp_path / "nowhere.mp4")


def test_frames_that_an_edit_cut_away_do_not_count(video, tmp_path):
    path = tmp_path / "edited.mp4"
    path.write_bytes(video.read_bytes())
    content = path.read_bytes()
    begin = content.index(b"elst") + 4 + 12
    (start,) = struct.unpack(">i", content[begin : begin + 4])
    with av.open(str(path)) as file:
        step = file.streams.video[0].duration // FRAMES
    patch(path, b"elst", 12, start + 5 * step)
    assert count_frames(path) == FRAMES - 5
    assert numbers(path, range(FRAMES - 5)) == list(range(5, FRAMES))


@pytest.mark.parametrize(
    ("matrix", "corner"),
    # Of ISO 14496-12: x' = a x + c y, y' = b x + d y.
    [
        *(((1, 0, 0, 1), (0, 0)), ((0, 1, -1, 0), (0, 1)), ((-1, 0, 0, -1), (1, 1)), ((0, -1, 1, 0), (1, 0))),
        # Mirrored, as front cameras do, and mirrored on their side.
        *(((-1, 0, 0, 1), (0, 1)), ((1, 0, 0, -1), (1, 0)), ((0, 1, 1, 0), (0, 0)), ((0, -1, -1, 0), (1, 1))),
    ],
)
def test_frames_are_turned_as_players_show_them(tmp_path, matrix, corner):
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[: HEIGHT // 2, : WIDTH // 2] = 255  # the upper left
    path = write_video(tmp_path / "a.mp4", "mpeg4", [frame] * 3)
    a, b, c, d = (value << 16 for value in matrix)
    patch(path, b"tkhd", 40, a, b, 0, c, d, 0)
    lying = matrix[0] == 0
    assert frame_size(path) == ((HEIGHT, WIDTH) if lying else (WIDTH, HEIGHT))
    shown = read_frame(str(path), 1)
    assert shown.shape == ((WIDTH, HEIGHT, 3) if lying else (HEIGHT, WIDTH, 3))
    quarters = shown.reshape(2, shown.shape[0] // 2, 2, shown.shape[1] // 2, 3).mean((1, 3, 4))
    expected = np.zeros((2, 2))
    expected[corner] = 255
    np.testing.assert_allclose(quarters, expected, atol=8)


@pytest.mark.parametrize(
    ("name", "shown_colors", "size"),
    [
        ("hflip", "GRYB", (128, 96)),
        ("vflip", "BYRG", (128, 96)),
        ("rot90", "BRYG", (96, 128)),
        ("sar", "RGBY", (171, 96)),
    ],
)
def test_quadrants_of_red_green_blue_yellow_lie_where_players_show_them(name, shown_colors, size):
    path = pathlib.Path(__file__).parent / "videos" / f"{name}.mp4"
    width, height = frame_size(path)
    frame = read_frame(str(path), 3)
    colors = {"R": (200, 40, 40), "G": (40, 200, 40), "B": (40, 40, 200), "Y": (200, 200, 40)}
    assert (width, height) == size
    for number, color in enumerate(shown_colors):
        y, x = (2 * (number // 2) + 1) * height // 4, (2 * (number % 2) + 1) * width // 4
        np.testing.assert_allclose(frame[y, x], colors[color], atol=5)
