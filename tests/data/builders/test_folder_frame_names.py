"""Frames of a folder by the names that annotation tools give them."""

import pytest
from PIL import Image

from sdeseg_jax.data.builders.annotation_file_names import image_file, tool_name
from sdeseg_jax.data.builders.folder_frame_names import FrameNames, ambiguous_labels, find_frames
from sdeseg_jax.data.builders.source_errors import SourceError

CLIPS = {"park": ["1", "2"], "my street": ["1", "my street_7"], "b": ["0a1b2c3d-x"], "c": ["x"]}


@pytest.fixture
def source(tmp_path):
    for name in [f"clips/{clip}/{stem}" for clip, stems in CLIPS.items() for stem in stems] + ["images/größe (2)"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 32)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize(
    "name, image",
    [
        ("park_1.jpg", "clips/park/1.png"),  # as a package calls it
        ("images/my_street_7.png", "clips/my street/my street_7.png"),
        ("my street_1.png", "clips/my street/1.png"),
        ("/data/upload/1/ffffffff-my_street_1.png", "clips/my street/1.png"),
        (r"C:\media\größe_2.png", "images/größe (2).png"),
        ("gro\u0308ße_2.png", "images/größe (2).png"),  # a Mac's way to write it
        ("export/park/1.png", "clips/park/1.png"),  # as the folder calls it
        ("2.png", "clips/park/2.png"),
        ("0a1b2c3d-x.png", "clips/b/0a1b2c3d-x.png"),  # what looks like Label Studio's prefix is the name
        ("ffffffff-0a1b2c3d-x.png", "clips/b/0a1b2c3d-x.png"),
        ("x.png", "clips/c/x.png"),
        ("3.png", None),
        ("other/1x.png", None),
    ],
)
def test_names(source, name, image):
    found = FrameNames(find_frames(source)).find(name)
    assert (found and found.image) == image


def test_a_name_that_may_be_of_several(source):
    with pytest.raises(ValueError, match=r"may be clips/my street/1\.png or clips/park/1\.png"):
        FrameNames(find_frames(source)).find("1.png")


def test_labels_that_may_be_of_several(source):
    assert not ambiguous_labels(find_frames(source))
    Image.new("RGB", (64, 32)).save(source / "images/2.png")
    assert ambiguous_labels(find_frames(source)) == {"labels/2.png": ["images/2.png", "clips/park/2.png"]}


def test_frames_of_one_id(source):
    Image.new("RGB", (64, 32)).save(source / "images/park_1.png")
    with pytest.raises(SourceError, match="images/park_1.png and clips/park/1.png are both frame 'park_1'"):
        find_frames(source)


def test_names_that_no_tool_changes():
    assert tool_name(" my street_7(é%).b-1 ") == "my_street_7é.b-1" == tool_name("my_street_7é.b-1")


@pytest.mark.parametrize(
    "name, file",
    [
        ("/data/local-files/?d=to%20annotate/images/a.jpg", "to annotate/images/a.jpg"),
        ("/data/upload/3/1a2b3c4d-a.jpg", "data/upload/3/1a2b3c4d-a.jpg"),
        ("https://server/x/a.jpg?token=1/2#b", "https://server/x/a.jpg"),
        (r"..\media\a.jpg", "../media/a.jpg"),
        ("100%25.jpg", "100%25.jpg"),
    ],
)
def test_image_files(name, file):
    assert image_file(name) == file
