"""CamVid: sequences, 15 Hz video, void, and the real files if they exist."""

import shutil

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.frame_dataset import FrameDataset

CLASSES = range(12)


@pytest.fixture(scope="module")
def builder(new_tree, build, blocks):
    tree, (label, _) = new_tree(), blocks(CLASSES)
    size = (64, 48)
    label = np.resize(label, (48, 64))
    for folder, names in (
        ("train", ("0001TP_006690", "0001TP_006720", "Seq05VD_f00000", "Seq05VD_f00030")),
        ("val", ("0016E5_07959", "0016E5_07961", "0016E5_07963", "0016E5_07969", "0016E5_07971")),
        ("test", ("Seq05VD_f00060",)),
    ):
        for i, name in enumerate(names):
            tree.image(f"{folder}/{name}.png", 40 * i, size)
            tree.label(f"{folder}annot/{name}.png", label)
        tree.clutter(folder, f"{folder}annot")
    (tree.root / "trainannot" / "0001TP_006720.png").unlink()
    tree.label("valannot/0016E5_08001.png", label)
    tree.image("train/montage.png")
    tree.text("train.txt", "/SegNet/CamVid/train/0001TP_006690.png /SegNet/CamVid/trainannot/0001TP_006690.png\n")
    return build("camvid", tree.root, width=32, height=24)


def test_training_images_are_single_and_validation_is_video(builder, read):
    clips = builder.info.metadata["clips"]
    train = ["0001TP_006690", "0001TP_006720", "Seq05VD_f00000", "Seq05VD_f00030"]
    assert clips["train"] == [[name, [name]] for name in train]
    assert clips["validation"] == [
        ["0016E5_07959", ["0016E5_07959", "0016E5_07961", "0016E5_07963"]],
        ["0016E5_07969", ["0016E5_07969", "0016E5_07971"]],
    ]
    assert FrameDataset(builder, "validation").index.with_neighbours.tolist() == [1]
    assert list(read(builder, "test")) == ["Seq05VD_f00060"]
    for i, record in enumerate(read(builder, "validation").values()):
        np.testing.assert_allclose(record["image"], 40 * i, atol=2)


def test_labels_keep_their_ids_but_for_void(builder, read):
    small = np.resize(np.resize(np.array(CLASSES, np.uint8), (16, 32)), (24, 32))
    records = read(builder, "train")
    label = records["0001TP_006690"]["label"][..., 0]
    assert set(label.ravel()) == {*range(11), 255}
    np.testing.assert_array_equal(label, np.where(small == 11, 255, small))
    np.testing.assert_array_equal(records["0001TP_006720"]["label"], 255)
    assert builder.info.metadata["labeled"]["train"] == [0, 2, 3]


def test_report(builder):
    found = builder.info.metadata["found"]
    assert found["notes"] == [
        "train: 1 files not named <name>_<number>.png are left out, e.g. montage.png",
        "train: 1 images have no label; they count as unlabelled, e.g. 0001TP_006720",
        "val: 1 labels have no image; they are not used, e.g. 0016E5_08001",
    ]
    assert found["splits"]["train"]["without_neighbours"] == 4
    assert found["splits"]["validation"]["without_neighbours"] == 4


def test_annotations_of_a_split_are_missing(new_tree, scan):
    tree = new_tree()
    for name in ("train", "trainannot", "val"):
        tree.image(f"{name}/0001TP_006690.png")
    with pytest.raises(SourceError, match=r"(?s)has no folder valannot.*trainannot/"):
        scan("camvid", tree.root)


def test_test_split_is_optional(new_tree, scan):
    tree = new_tree()
    for name in ("train", "trainannot"):
        tree.image(f"{name}/0001TP_006690.png")
    found = scan("camvid", tree.root)
    assert list(found.splits) == ["train"] and len(found.notes) == 2


def test_real_files(real_data, tmp_path, build, read):
    source, names = real_data("camvid"), []
    for folder, count in (("train", 3), ("val", 4)):
        for kind in (folder, f"{folder}annot"):
            (tmp_path / kind).mkdir()
        for path in sorted((source / folder).glob("*.png"))[:count]:
            names.append(path.stem)
            shutil.copy(path, tmp_path / folder)
            shutil.copy(source / f"{folder}annot" / path.name, tmp_path / f"{folder}annot")
    builder = build("camvid", tmp_path, width=336, height=256)
    train, validation = read(builder, "train"), read(builder, "validation")
    assert [*train, *validation] == names
    assert len(builder.info.metadata["clips"]["train"]) == 3 and len(builder.info.metadata["clips"]["validation"]) == 1
    for name, record in validation.items():
        with Image.open(source / "val" / f"{name}.png") as image:
            original = np.asarray(image.resize((336, 256), Image.Resampling.LANCZOS), float)
        with Image.open(source / "valannot" / f"{name}.png") as image:
            label = np.asarray(image)
        assert np.abs(record["image"] - original).mean() < 3  # of 255, for JPEG
        shares = [np.bincount(part.ravel(), minlength=256) / part.size for part in (label, record["label"])]
        shares[0][[11, 255]] = shares[0][[255, 11]]
        np.testing.assert_allclose(shares[1], shares[0], atol=0.01)
