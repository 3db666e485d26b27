"""Own videos as they come: trimmed, cut between key frames, mirrored, with oblong pixels, of any ending."""

import pathlib
import shutil
import struct

import numpy as np
import pytest

from sdeseg_jax.data import video_files
from sdeseg_jax.data.builders.folder_contents import find_camera, find_footage
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.preparation import report_text

VIDEOS = pathlib.Path(__file__).parents[1] / "videos"
FOV = {"field_of_view": 90}


@pytest.fixture
def source(folder):
    """Returns a function that makes a source folder with videos and a camera."""

    def make(camera, *names):
        tree = folder(camera=camera, classes=None)
        (tree.root / "clips").mkdir()
        for name in names:
            shutil.copyfile(VIDEOS / name, tree.root / "clips" / name)
        return tree

    return make


def test_cut_and_trimmed_videos_are_prepared_with_a_note(source, prepare):
    counts = {"trim_end.mp4": 20, "trim_start.mp4": 30, "keycut_h264_ts.mkv": 45, "h264_cut7.ts": 45}
    found = prepare(source(FOV, *counts), (64, 32)).info.metadata["found"]
    assert found["splits"]["train"]["images"] == sum(counts.values()) and not found["splits"]["train"]["skipped"]
    notes = report_text(found).splitlines()
    for name, count in counts.items():
        (note,) = [note for note in notes if f"{name}: " in note]
        assert note.startswith("note: ") and f"{count} of " in note


@pytest.mark.parametrize("camera", [FOV, {"fx": 64, "fy": 256 / 3, "cx": 63.5, "cy": 47.5, "width": 128, "height": 96}])
def test_frames_with_oblong_pixels_are_shown_and_measured_square(source, prepare, read, camera):
    tree = source(camera, "sar.mp4")
    builder = prepare(tree, (0, 0))
    assert builder.builder_config.name == "160x96"  # the multiples of 32 next to 171x96, not to 128x96
    for record in read(builder, "train").values():
        np.testing.assert_allclose(record["intrinsics"], [[80, 0, 79.5], [0, 256 / 3, 47.5], [0, 0, 1]], rtol=1e-4)
    assert "(4:3); frames are stretched from 128x96 to 171x96" in report_text(builder.info.metadata["found"])
    (clip,), _, _ = find_footage(tree.root, "")
    fx, fy = (getattr(find_camera(tree.root, clip, 6), name) for name in ("fx", "fy"))
    assert fx == pytest.approx(85.5) and fy == pytest.approx(85.3, abs=0.05)


def test_a_camera_in_pixels_as_shown_stays_as_it_is(source):
    camera = {"fx": 90, "fy": 90, "cx": 85, "cy": 47.5, "width": 171, "height": 96}
    tree = source(camera, "sar.mp4")
    (clip,), _, _ = find_footage(tree.root, "")
    found = find_camera(tree.root, clip, 6)
    assert (found.fx, found.fy, found.cx, found.width, found.height) == (90, 90, 85, 171, 96)


def test_oblong_pixels_lying_on_their_side(source):
    tree = source(FOV, "sar.mp4")
    path = tree.root / "clips" / "sar.mp4"
    content = bytearray(path.read_bytes())
    struct.pack_into(">5i", content, content.index(b"tkhd") + 44, 0, 1 << 16, 0, -1 << 16, 0)
    path.write_bytes(content)
    assert video_files.frame_size(path) == (96, 171) == video_files.read_frame(str(path), 2).shape[1::-1]
    (clip,), _, _ = find_footage(tree.root, "")
    camera = find_camera(tree.root, clip, 6)
    assert camera.fx == pytest.approx(48) and camera.fy == pytest.approx(48, rel=0.003)


def test_pixels_that_no_camera_has_are_refused(source, prepare):
    tree = source(FOV, "sar.mp4")
    path = tree.root / "clips" / "sar.mp4"
    content = path.read_bytes()
    place = content.index(b"pasp") + 4
    path.write_bytes(content[:place] + struct.pack(">2i", 40, 1) + content[place + 8 :])
    with pytest.raises(SourceError, match=r"pixels are 40:1, which no camera has; correct it with: ffmpeg"):
        prepare(tree)


@pytest.mark.parametrize("ending", ["MTS", "m2ts", "HEVC", "3gp", "wmv", "Mkv"])
def test_an_ending_does_not_decide_how_a_video_is_read(source, ending):
    tree = source(FOV, "hflip.mp4")
    (tree.root / "clips" / "hflip.mp4").rename(tree.root / "clips" / f"x.{ending}")
    (clip,), _, notes = find_footage(tree.root, "")
    assert clip.name == "x" and len(clip.frames()) == 6 and not notes
