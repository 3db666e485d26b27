"""Cityscapes and its video: pairs of files, shared neighbours, intrinsics, stereo depth."""

import json

import numpy as np
import pytest
import tensorflow as tf

from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.frame_dataset import FrameDataset

OF_CLASSES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
TRAIN_IDS = {label_id: train_id for train_id, label_id in enumerate(OF_CLASSES)}
LABEL_IDS = (*range(35), 255)
CAMERA = {
    "intrinsic": {"fx": 2268.36, "fy": 2225.54, "u0": 1048.64, "v0": 519.28},
    "extrinsic": {"baseline": 0.222126, "pitch": 0.05, "x": 1.7},
}
DISPARITY = np.arange(16 * 32).reshape(16, 32).repeat(2, 0).repeat(2, 1) * 37  # the first block is unknown


def write_frame(tree, split, name, label=None, value=100):
    city = name.split("_")[0]
    tree.image(f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", value)
    if label is not None:
        prefix = f"gtFine/{split}/{city}/{name}_gtFine"
        tree.label(f"{prefix}_labelIds.png", label)
        tree.label(f"{prefix}_instanceIds.png", label)
        tree.label(f"{prefix}_color.png", np.stack([label] * 3, -1))
        tree.text(f"{prefix}_polygons.json", {"imgHeight": 1024})


def write_video(tree, split, sequence, numbers):
    for n in numbers:
        city = sequence.split("_")[0]
        tree.image(f"leftImg8bit_sequence/{split}/{city}/{sequence}_{n:06d}_leftImg8bit.png", 5 * n)


@pytest.fixture(scope="module")
def tree(new_tree, blocks):
    tree, (label, _) = new_tree(), blocks(LABEL_IDS)
    write_frame(tree, "train", "aachen_000000_000019", label, 95)
    write_frame(tree, "train", "aachen_000000_000021", label, 105)
    write_frame(tree, "train", "aachen_000001_000019", value=200)  # no label, no neighbours
    write_frame(tree, "train", "bad-city_000010_000019", np.full((32, 64), 26, np.uint8), 95)
    write_frame(tree, "val", "frankfurt_000000_000294", label)
    write_frame(tree, "test", "berlin_000000_000019", np.zeros((32, 64), np.uint8))
    tree.label("gtFine/train/aachen/aachen_000007_000019_gtFine_labelIds.png", label)  # no image
    write_video(tree, "train", "aachen_000000", range(17, 24))
    write_video(tree, "train", "bad-city_000010", range(18, 21))
    tree.text("camera/train/aachen/aachen_000000_000019_camera.json", CAMERA)
    tree.deep_image("disparity/train/aachen/aachen_000000_000019_disparity.png", DISPARITY)
    tree.clutter("", "leftImg8bit/train", "leftImg8bit/train/aachen", "leftImg8bit_sequence/train/aachen")
    return tree


@pytest.fixture(scope="module")
def builder(tree, build):
    return build("cityscapes", tree.root)


@pytest.fixture(scope="module")
def train(builder, read):
    return read(builder, "train")


def test_annotated_frames_two_apart_share_a_neighbour_that_is_stored_once(builder, train):
    shared = [f"aachen_000000_{n:06d}" for n in range(18, 23)]
    other = [f"bad-city_000010_{n:06d}" for n in range(18, 21)]
    assert list(train) == [*shared, "aachen_000001_000019", *other]
    metadata = builder.info.metadata
    assert metadata["clips"]["train"] == [
        ["aachen_000000_000018", shared],
        ["aachen_000001_000019", ["aachen_000001_000019"]],
        ["bad-city_000010_000018", other],
    ]
    assert metadata["context"]["train"] == [0, 2, 4, 6, 8]
    assert metadata["labeled"]["train"] == [1, 3, 7]
    index = FrameDataset(builder, "train").index
    assert index.targets.tolist() == [1, 3, 5, 7] and index.with_neighbours.tolist() == [1, 3, 7]


def test_records_hold_their_frames(train):
    for name, record in train.items():
        assert record["image"].shape == (16, 32, 3) and record["label"].shape == (16, 32, 1)
        number = int(name[-6:])
        value = 200 if name == "aachen_000001_000019" else 5 * number
        np.testing.assert_allclose(record["image"], value, atol=2)
        assert record["frame"] == number
    assert train["aachen_000000_000020"]["clip"] == b"aachen_000000_000018"


def test_labels_are_train_ids(train, blocks):
    _, label = blocks(LABEL_IDS)
    expected = np.vectorize(lambda value: TRAIN_IDS.get(value, 255))(label)
    assert set(expected.ravel()) == {*range(19), 255}
    for n in (19, 21):
        np.testing.assert_array_equal(train[f"aachen_000000_{n:06d}"]["label"][..., 0], expected)
    np.testing.assert_array_equal(train["bad-city_000010_000019"]["label"], 13)
    for name in ("aachen_000000_000020", "aachen_000001_000019"):
        np.testing.assert_array_equal(train[name]["label"], 255)


def test_intrinsics_are_of_the_annotated_frame_and_scaled(train, resized):
    own, usual = (2268.36, 2225.54, 1048.64, 519.28), (2262.52, 2265.30, 1096.98, 513.137)
    for name, (fx, fy, cx, cy) in (
        ("aachen_000000_000019", own),
        ("aachen_000000_000018", own),
        ("aachen_000000_000022", usual),
        ("bad-city_000010_000019", usual),
    ):
        expected = [[fx / 64, 0, resized(cx, 2048, 32)], [0, fy / 64, resized(cy, 1024, 16)], [0, 0, 1]]
        np.testing.assert_allclose(train[name]["intrinsics"], expected, rtol=1e-6)


def test_stereo_disparity_stays_in_pixels_of_the_original(builder, train):
    record = train["aachen_000000_000019"]
    assert record["stereo_disparity"].dtype == np.uint16
    np.testing.assert_array_equal(record["stereo_disparity"][..., 0], DISPARITY[::2, ::2])
    np.testing.assert_allclose(record["stereo_scale"], 0.222126 * 2268.36, rtol=1e-6)
    assert not train["aachen_000000_000021"]["stereo_disparity"].any()
    np.testing.assert_allclose(train["aachen_000000_000021"]["stereo_scale"], 0.209313 * 2262.52, rtol=1e-6)
    depth = FrameDataset(builder, "train").read(tf.constant(1), ("depth",))["depth"].numpy()[..., 0]
    disparity = (DISPARITY[::2, ::2] - 1) / 256
    assert np.isinf(depth[0, 0])
    np.testing.assert_allclose(depth.ravel()[1:], 0.222126 * 2268.36 / disparity.ravel()[1:], rtol=1e-5)


def test_report_tells_what_was_found(builder, tree):
    found = builder.info.metadata["found"]
    counted = ("images", "labels", "clips", "without_neighbours", "only_neighbours", "skipped")
    assert {split: {key: one[key] for key in counted} for split, one in found["splits"].items()} == {
        "train": dict(images=9, labels=3, clips=3, without_neighbours=1, only_neighbours=5, skipped=[]),
        "validation": dict(images=1, labels=1, clips=1, without_neighbours=1, only_neighbours=0, skipped=[]),
    }
    assert found["notes"] == [
        "train: 1 images have no label; they count as unlabelled, e.g. aachen_000001_000019",
        "train: 1 labels have no image; they are not used, e.g. aachen_000007_000019",
    ]
    assert set(builder.info.splits) == {"train", "validation"}  # the test split has no true labels


def test_classes_are_stored(builder):
    classes = FrameDataset(builder, "validation").classes
    assert classes.protocol == "cityscapes-19" and len(classes) == 19


def test_absent_folders_are_noted(new_tree, scan):
    tree = new_tree()
    write_frame(tree, "train", "aachen_000000_000019", np.zeros((32, 64), np.uint8))
    notes = "\n".join(scan("cityscapes", tree.root).notes)
    for part in ("leftImg8bit/val is missing: no split 'validation'", "leftImg8bit_sequence", "camera", "disparity"):
        assert part in notes


def test_missing_folder_shows_what_is_expected_and_what_is_there(new_tree, scan):
    tree = new_tree()
    tree.image("leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png")
    tree.text("gtFine_trainvaltest.zip", "")
    with pytest.raises(SourceError) as error:
        scan("cityscapes", tree.root)
    message = str(error.value)
    assert "has no folder gtFine/train" in message
    assert "gtFine/{train,val}/<city>/<city>_<seq>_<frame>_gtFine_labelIds.png" in message
    assert message.endswith("    gtFine_trainvaltest.zip\n    leftImg8bit/")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a Cityscapes camera file"),
        ([], "is not a Cityscapes camera file"),
        ({"intrinsic": CAMERA["intrinsic"]}, "KeyError: 'extrinsic'"),
        (CAMERA | {"extrinsic": {"baseline": 0}}, "baseline should be 0 to 10 m, not 0 m"),
        (CAMERA | {"extrinsic": {"baseline": float("nan")}}, "baseline should be 0 to 10 m, not nan m"),
        (CAMERA | {"intrinsic": CAMERA["intrinsic"] | {"fx": float("nan")}}, "should be positive numbers"),
        (CAMERA | {"intrinsic": {"fx": 1.1, "fy": 2.2, "u0": 0.5, "v0": 0.5}}, "look normalised"),
        (CAMERA | {"intrinsic": {"fx": 1131, "fy": 1133, "u0": 548, "v0": 256}}, "1096x512"),
    ],
)
def test_broken_camera_files_are_named(new_tree, scan, content, message):
    tree = new_tree()
    write_frame(tree, "train", "aachen_000000_000019", np.zeros((32, 64), np.uint8))
    tree.text("camera/train/aachen/aachen_000000_000019_camera.json", content)
    with pytest.raises(SourceError, match="aachen_000000_000019_camera.json") as error:
        scan("cityscapes", tree.root)
    assert message in str(error.value)


@pytest.fixture(scope="module")
def video(new_tree, build):
    tree = new_tree()
    write_video(tree, "train", "aachen_000000", [*range(30), 40, 41])
    write_video(tree, "train", "aachen_000001", range(3))
    tree.text("camera/train/aachen/aachen_000000_000019_camera.json", CAMERA)
    tree.clutter("leftImg8bit_sequence/train", "leftImg8bit_sequence/train/aachen")
    return build("cityscapes_video", tree.root)


def test_video_is_cut_where_frames_are_missing(video, read):
    clips = {name: ids for name, ids in video.info.metadata["clips"]["train"]}
    expected = {"aachen_000000_000000": 30, "aachen_000000_000040": 2, "aachen_000001_000000": 3}
    assert {name: len(ids) for name, ids in clips.items()} == expected
    records = read(video, "train")
    assert list(records) == [name for ids in clips.values() for name in ids]
    for name, record in records.items():
        np.testing.assert_allclose(record["image"], 5 * int(name[-6:]), atol=2)
    assert "label" not in video.info.features and video.info.metadata["classes"] is None
    assert video.info.metadata["labeled"]["train"] == video.info.metadata["context"]["train"] == []
    assert video.info.metadata["found"]["splits"]["train"]["without_neighbours"] == 6


def test_video_frames_have_the_intrinsics_of_their_snippets_annotated_frame(video, read):
    records = read(video, "train")
    assert all(records[f"aachen_000000_{n:06d}"]["intrinsics"][0, 0] == np.float32(2268.36 / 64) for n in range(30))
    assert records["aachen_000001_000000"]["intrinsics"][0, 0] == np.float32(2262.52 / 64)


def test_intrinsics_of_snippets_that_lack_frames_or_follow_each_other(new_tree, scan):
    tree = new_tree()
    write_video(tree, "train", "aachen_000000", range(5, 55))
    other = json.loads(json.dumps(CAMERA))
    other["intrinsic"]["fx"] = 2300.0
    tree.text("camera/train/aachen/aachen_000000_000019_camera.json", CAMERA)
    tree.text("camera/train/aachen/aachen_000000_000049_camera.json", other)
    (clip,) = scan("cityscapes_video", tree.root).splits["train"]
    focal = {frame.number: frame.camera.fx for frame in clip.frames}
    assert {focal[n] for n in range(5, 34)} == {2268.36} and {focal[n] for n in range(35, 55)} == {2300.0}


def test_video_without_the_sequence_package(new_tree, scan):
    tree = new_tree()
    write_frame(tree, "train", "aachen_000000_000019")
    with pytest.raises(SourceError, match="has no folder leftImg8bit_sequence/train"):
        scan("cityscapes_video", tree.root)
