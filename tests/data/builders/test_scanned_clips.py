"""Finding files: order, clutter, numbers, runs, pairs, and what a message shows."""

import numpy as np
import pytest

from sdeseg_jax.data.builders.frame_order import natural_key
from sdeseg_jax.data.builders.scanned_clips import (
    LabelFormat,
    describe,
    list_files,
    numbered_files,
    require_folders,
    runs_of_consecutive,
    unmatched,
    video_clips,
)
from sdeseg_jax.data.builders.source_errors import SourceError


def test_natural_order():
    names = ["frame10", "frame2", "2", "10", "a", "frame2b", "x²1"]
    assert sorted(names, key=natural_key) == ["2", "10", "a", "frame2", "frame2b", "frame10", "x²1"]


def test_list_files_leaves_clutter_out(new_tree):
    tree = new_tree()
    for name in ("10.png", "9.PNG", "8.jpg", "7.jpeg", "6.gif", ".5.png"):
        tree.image(f"a/{name}" if not name.endswith("gif") else "a/6.gif")
    tree.clutter("a")
    (tree.root / "a" / "folder.png").mkdir()
    assert [path.name for path in list_files(tree.root / "a")] == ["7.jpeg", "8.jpg", "9.PNG", "10.png"]
    assert [path.name for path in list_files(tree.root / "a", (".png",))] == ["9.PNG", "10.png"]
    assert list_files(tree.root / "nowhere") == []


def test_numbered_files(new_tree):
    tree = new_tree()
    for name in ("052_00010.jpg", "052_00009.jpg", "000002.png", "preview.png", "000003 (1).png"):
        tree.text(name, "")
    expected = {2: "000002.png", 9: "052_00009.jpg", 10: "052_00010.jpg"}
    assert {n: path.name for n, path in numbered_files(tree.root).items()} == expected
    assert list(numbered_files(tree.root)) == [2, 9, 10]


def test_runs_of_consecutive():
    assert runs_of_consecutive([5, 1, 2, 2, 3, 9]) == [[1, 2, 3], [5], [9]]
    assert runs_of_consecutive([5, 1, 2, 3, 9], step=2) == [[1, 2, 3, 5], [9]]
    assert runs_of_consecutive([]) == []


def test_video_clips(new_tree):
    tree = new_tree()
    for n in (1, 2, 4):
        tree.text(f"{n:03d}.png", "")
    poses = {n: tuple(range(n, n + 16)) for n in (1, 2, 4)}
    first, second = video_clips("v", numbered_files(tree.root), None, poses)
    assert (first.name, second.name) == ("v_001", "v_004")
    assert [frame.id for frame in first.frames] == ["v_001", "v_002"]
    assert [frame.number for frame in first.frames] == [1, 2]
    assert second.frames[0].pose == poses[4] and second.frames[0].image == str(tree.root / "004.png")
    assert video_clips("v", numbered_files(tree.root), None)[0].frames[0].pose is None
    assert video_clips("v", {}, None) == []


def test_unmatched():
    assert unmatched(["a", "b"], {"a": 1, "b": 2}, "train") == []
    assert unmatched(["a", "b", "c"], ["b", "d"], "train") == [
        "train: 2 images have no label; they count as unlabelled, e.g. a",
        "train: 1 labels have no image; they are not used, e.g. d",
    ]


LAYOUT = """
    images/<number>.png
        below
"""


def test_messages_show_the_layout_beside_what_is_there(new_tree):
    tree = new_tree()
    for n in range(20):
        tree.text(f"file{n}", "")
    (tree.root / "aa").mkdir()
    text = describe(tree.root, LAYOUT)
    assert text.startswith("Expected:\n    images/<number>.png\n        below\nFound in")
    assert "\n    aa/\n    file0\n    file1\n    file2\n" in text and text.endswith("    … and 9 more")
    assert describe(tree.root / "aa", LAYOUT).endswith("it is empty")
    assert describe(tree.root / "file1", LAYOUT).endswith("it is not a folder")
    assert describe(tree.root / "nowhere", LAYOUT).endswith("it does not exist")


def test_require_folders(new_tree):
    tree = new_tree()
    tree.text("a/b", "")
    require_folders(tree.root, ("a",), LAYOUT)
    with pytest.raises(SourceError, match=r"(?s)has no folder a/b, c\.\nExpected:\n    images/.*Found in .*:.*a/"):
        require_folders(tree.root, ("a", "a/b", "c"), LAYOUT)


def test_label_format_from_ids():
    labels = LabelFormat.from_ids({3: 0, 5: 1}, void=(0, 255))
    np.testing.assert_array_equal(labels.decode(np.array([[3, 5], [0, 255]], np.uint8)), [[0, 1], [255, 255]])
    assert labels.decode(np.array([[3]], np.uint16)).dtype == np.uint8
    with pytest.raises(SourceError, match=r"\[4, 300\] \(50.00% of pixels\)"):
        labels.decode(np.array([[4, 300], [0, 3]], np.uint16))
