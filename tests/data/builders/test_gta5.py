"""GTA5 and its video VIPER: palette labels, labels of another size, the held-out images, the corrupt file."""

import numpy as np
import pytest

from sdeseg_jax.data.builders.gta5 import Gta5
from sdeseg_jax.data.builders.label_pixels import read_label
from sdeseg_jax.data.builders.label_reading import decode_label
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.preparation import report_text
from tests.data.builders.png_writer import PALETTE as PNG_PALETTE
from tests.data.builders.png_writer import png

LABEL_IDS = range(35)
INTRINSICS = [[1.206285 * 32, 0, 0.5 * 32 - 0.5], [0, 2.144507 * 16, 0.5 * 16 - 0.5], [0, 0, 1]]


@pytest.fixture(scope="module")
def tree(new_tree, blocks):
    tree, (label, _) = new_tree(), blocks(LABEL_IDS)
    for n in range(1, 13):
        tree.image(f"images/{n:05d}.png", 10 * n)
        tree.palette_label(f"labels/{n:05d}.png", label)
    tree.image("images/00003.png", 30, (66, 36))  # another size, as its label has
    tree.palette_label("labels/00003.png", np.full((36, 66), 24, np.uint8))
    tree.palette_label("labels/00005.png", np.full((30, 64), 24, np.uint8))  # another size than its image
    (tree.root / "labels" / "00007.png").unlink()
    (tree.root / "images" / "00008.png").unlink()
    tree.clutter("", "images", "labels")
    return tree


@pytest.fixture(scope="module")
def builder(tree, build):
    return build("gta5", tree.root)


def test_splits_are_in_the_order_of_names_and_hold_out_the_last(builder, read):
    assert list(read(builder, "train")) == [f"{n:05d}" for n in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
    assert list(read(builder, "validation")) == ["00011", "00012"]
    clips = builder.info.metadata["clips"]
    assert clips["validation"] == [["00011", ["00011"]], ["00012", ["00012"]]]
    assert FrameDataset(builder, "train").index.with_neighbours.size == 0


def test_images_labels_and_intrinsics(builder, read, blocks):
    _, small = blocks(LABEL_IDS)
    label = np.full((16, 32), 255)
    for train_id, value in enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)):
        label[small == value] = train_id
    for name, record in {**read(builder, "train"), **read(builder, "validation")}.items():
        assert record["image"].shape == (16, 32, 3)
        np.testing.assert_allclose(record["image"], 10 * int(name), atol=2)
        np.testing.assert_allclose(record["intrinsics"], INTRINSICS, rtol=1e-6)
        expected = {"00003": 11, "00005": 255, "00007": 255}.get(name, label)
        np.testing.assert_array_equal(record["label"][..., 0], expected)


def test_report_names_what_does_not_fit(builder, tree):
    found = builder.info.metadata["found"]
    assert found["splits"]["train"]["skipped"] == [
        ["label size", f"{tree.root / 'labels' / '00005.png'}: 64x30, but its image is 64x32"]
    ]
    assert found["splits"]["train"]["images"] == 9 and found["splits"]["train"]["labels"] == 7
    assert builder.info.metadata["labeled"]["train"] == [0, 1, 2, 3, 5, 7, 8]
    assert "labels left out, their images kept (label size): 1\n" in report_text(found)
    assert found["notes"] == [
        "images: 1 images have no label; they count as unlabelled, e.g. 00007",
        "images: 1 labels have no image; they are not used, e.g. 00008",
        "11 images are a part of the dataset: the last fifth (2) is 'validation'",
    ]


def test_of_the_whole_dataset_the_last_500_are_held_out(new_tree, scan):
    tree = new_tree()
    for n in range(1, 1002):
        tree.text(f"images/{n:05d}.png", "")
        tree.text(f"labels/{n:05d}.png", "")
    found = scan("gta5", tree.root)
    assert not found.notes
    assert {split: len(clips) for split, clips in found.splits.items()} == {"train": 501, "validation": 500}
    assert found.splits["validation"][0].name == "00502"


def test_a_label_id_outside_the_list_is_an_error_that_names_file_and_ids(new_tree, build):
    tree = new_tree()
    tree.image("images/00001.png")
    tree.palette_label("labels/00001.png", np.full((32, 64), 35, np.uint8))
    with pytest.raises(SourceError, match=r"labels/00001.png: holds class ids that are not in the list.*\[35\]"):
        build("gta5", tree.root, on_corrupt="skip")


PALETTE = (
    *[(0, 0, 0)] * 4, (20, 20, 20), (111, 74, 0), (81, 0, 81), (128, 64, 128), (244, 35, 232), (250, 170, 160),
    (230, 150, 140), (70, 70, 70), (102, 102, 156), (190, 153, 153), (180, 165, 180), (150, 100, 100), (150, 120, 90),
    (153, 153, 153), (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180),
    (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 0, 90), (0, 0, 110), (0, 80, 100),
    (0, 0, 230), (119, 11, 32), (0, 0, 142),
)  # fmt: skip
"""Of the label ids 0 to 34."""


def test_palettes_in_another_order_are_read_by_colour(tmp_path):
    """The published one is read by index: poles in groups and licence plates are void, though grey and blue."""
    ids = np.resize(np.arange(35, dtype=np.uint8), (5, 14))
    (tmp_path / "published.png").write_bytes(png(ids, 8, PNG_PALETTE, PALETTE))
    expected = Gta5.LABELS.decode(ids)
    np.testing.assert_array_equal(decode_label(*read_label(tmp_path / "published.png"), Gta5.LABELS), expected)
    kept = np.where(np.isin(ids, (18, 34)), 7, ids)
    order = np.random.default_rng(0).permutation(35)
    reordered = png(np.argsort(order)[kept], 8, PNG_PALETTE, [PALETTE[i] for i in order])
    (tmp_path / "smaller.png").write_bytes(reordered)
    found = decode_label(*read_label(tmp_path / "smaller.png"), Gta5.LABELS)
    np.testing.assert_array_equal(found, Gta5.LABELS.decode(kept))


def test_missing_labels_folder(new_tree, scan):
    tree = new_tree()
    tree.image("images/00001.png")
    with pytest.raises(SourceError, match=r"(?s)has no folder labels.*Cityscapes' label ids.*Found in .*images/"):
        scan("gta5", tree.root)


@pytest.fixture(scope="module")
def video(new_tree, build):
    tree = new_tree()
    for sequence, numbers in (("001", (1, 2, 3, 4, 8, 9)), ("052", range(62, 68))):
        for n in numbers:
            tree.image(f"train/img/{sequence}/{sequence}_{n:05d}.jpg", 3 * n)
    tree.truncate("train/img/052/052_00064.jpg")
    for n in (1, 2, 3):  # numbered as the training sequence is
        tree.image(f"val/img/001/001_{n:05d}.jpg", 50 * n)
    tree.clutter("train", "train/img", "train/img/001")
    return build("gta5_video", tree.root)


def test_video_clips_end_where_frames_are_missing_and_at_the_corrupt_file(video, read):
    clips = {
        "train_001_00001": ["train_001_00001", "train_001_00002", "train_001_00003", "train_001_00004"],
        "train_001_00008": ["train_001_00008", "train_001_00009"],
        "train_052_00062": ["train_052_00062", "train_052_00063"],
        "train_052_00065": ["train_052_00065", "train_052_00066", "train_052_00067"],
    }
    assert dict(video.info.metadata["clips"]["train"]) == clips
    records = read(video, "train")
    assert list(records) == [name for ids in clips.values() for name in ids]
    for name, record in records.items():
        np.testing.assert_allclose(record["image"], 3 * int(name[-5:]), atol=2)
        np.testing.assert_allclose(record["intrinsics"], INTRINSICS, rtol=1e-6)
    assert video.info.metadata["found"]["notes"] == [
        "train/img/052/052_00064.jpg is left out: the published file is corrupt"
    ]


def test_video_sequences_of_both_splits_are_numbered_alike(video, read):
    records = read(video, "validation")
    assert list(records) == ["val_001_00001", "val_001_00002", "val_001_00003"]
    np.testing.assert_allclose(records["val_001_00003"]["image"], 150, atol=2)


def test_video_without_validation(new_tree, scan):
    tree = new_tree()
    tree.image("train/img/001/001_00001.jpg")
    found = scan("gta5_video", tree.root)
    assert list(found.splits) == ["train"] and "val/img is missing: no split 'validation'" in found.notes[0]
    with pytest.raises(SourceError, match="has no folder train/img"):
        scan("gta5_video", tree.root / "train")
