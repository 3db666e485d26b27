"""Prepared datasets as frames: parts of splits, windows, stereo depth, protocols."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sdeseg_jax.data.datasets import open_split
from sdeseg_jax.data.frame_dataset import FrameIndex, parse_split
from sdeseg_jax.data.preparation import prepare_from_source

SIZES = {"train": 50, "validation": 10, "empty": 0}


@pytest.mark.parametrize(
    "split, expected",
    [
        ("train", ("train", 0, 50)),
        ("train[:20]", ("train", 0, 20)),
        ("train[40%:]", ("train", 20, 50)),
        ("train[10:30%]", ("train", 10, 15)),
        ("validation[:99]", ("validation", 0, 10)),
    ],
)
def test_parts_of_splits(split, expected):
    assert parse_split(split, SIZES) == expected


@pytest.mark.parametrize(
    "split, message",
    [
        ("trian", "split 'trian' does not exist; did you mean 'train'"),
        ("empty", "split 'empty' does not exist"),
        ("train[3]", "should be a name, or a part"),
        ("train[-3:]", "should be a name, or a part"),
    ],
)
def test_wrong_splits(split, message):
    with pytest.raises(ValueError, match=message):
        parse_split(split, SIZES)


def test_cutting_a_clip_takes_a_neighbour_from_the_frames_at_the_cut():
    index = FrameIndex.from_clips([("a", ["a0", "a1", "a2", "a3", "a4"])], labeled=[2], context=[4])
    assert index.with_neighbours.tolist() == [1, 2, 3] and index.targets.tolist() == [0, 1, 2, 3]
    part = index.part(1, 4)
    assert part.ids == ("a1", "a2", "a3") and part.with_neighbours.tolist() == [1] and part.labeled.tolist() == [1]
    assert index.with_neighbours.tolist() == [1, 2, 3]  # the whole is as it was


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    """Two annotated frames with neighbours, labels of all classes, stereo disparity; (folder, source arrays)."""
    root, rng = tmp_path_factory.mktemp("source"), np.random.default_rng(0)
    smooth = tf.image.resize(rng.uniform(0, 255, (6, 12, 3)), (64, 128), "bicubic").numpy().clip(0, 255)
    label = rng.choice([7, 8, 22, 27, 0, 33], (64, 128)).astype(np.uint8)  # road, walk, terrain, truck, void, bicycle
    stereo = rng.choice([0, 1, 257, 5121], (64, 128)).astype(np.uint16)  # unknown, infinitely far, 1 and 20 pixels
    camera = {"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0, "fy": 2000.0, "u0": 1023.5, "v0": 511.5}}

    def save(folder, name, values):
        path = root / folder / "train" / "ulm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(values, dict):
            path.write_text(json.dumps(values))
        else:
            Image.fromarray(values).save(path)

    for number in (19, 49):
        name = f"ulm_000000_{number:06d}"
        save("leftImg8bit", f"{name}_leftImg8bit.png", smooth.astype(np.uint8))
        save("gtFine", f"{name}_gtFine_labelIds.png", label)
        save("disparity", f"{name}_disparity.png", stereo)
        save("camera", f"{name}_camera.json", camera)
        for neighbour in (number - 1, number + 1):
            picture = (smooth * 0.5).astype(np.uint8)
            save("leftImg8bit_sequence", f"ulm_000000_{neighbour:06d}_leftImg8bit.png", picture)
    output = tmp_path_factory.mktemp("prepared")
    prepare_from_source("cityscapes", str(root), str(output), (128, 64), processes=1)
    return str(output), {"label": label, "stereo": stereo, "image": smooth}


def test_context_frames_are_no_targets(cityscapes):
    index = open_split("cityscapes", "train", cityscapes[0]).index
    assert len(index) == 6 and index.targets.tolist() == index.with_neighbours.tolist() == index.labeled.tolist() == [
        1,
        4,
    ]


def test_stereo_disparity_is_read_as_metres(cityscapes):
    dataset = open_split("cityscapes", "train", cityscapes[0])
    depth = dataset.read(tf.constant(1), ("depth",))["depth"].numpy()[..., 0]
    expected = {0: np.inf, 1: np.inf, 257: 0.2 * 2000 / 1, 5121: 0.2 * 2000 / 20}
    for value, metres in expected.items():
        np.testing.assert_allclose(depth[cityscapes[1]["stereo"] == value], metres, rtol=1e-5)
    assert np.isinf(dataset.read(tf.constant(0), ("depth",))["depth"]).all()  # a neighbour has none


def test_windows_are_cut_from_every_map(cityscapes):
    """Decoding a window of a JPEG gives the pixels of the whole, but for colours in the outermost rows and columns."""
    dataset = open_split("cityscapes", "train", cityscapes[0])
    fields = ("image", "label", "depth", "intrinsics")
    whole = {name: value.numpy() for name, value in dataset.read(tf.constant(1), fields).items()}
    for top, left in ((0, 0), (16, 32), (7, 13), (32, 64)):
        part = dataset.read(tf.constant(1), fields, (tf.constant(top), tf.constant(left), 32, 64))
        for name in ("label", "depth"):
            np.testing.assert_array_equal(part[name], whole[name][top : top + 32, left : left + 64])
        np.testing.assert_array_equal(part["intrinsics"], whole["intrinsics"])
        expected, found = whole["image"][top : top + 32, left : left + 64].astype(int), part["image"].numpy()
        np.testing.assert_array_equal(found[2:-2, 2:-2], expected[2:-2, 2:-2])
        assert np.abs(found - expected).max() <= 24


def test_images_are_those_of_the_source(cityscapes):
    image = open_split("cityscapes", "train", cityscapes[0]).read(tf.constant(1), ("image",))["image"]
    assert np.abs(image.numpy() - cityscapes[1]["image"]).mean() < 2


def test_labels_are_read_in_another_protocol(cityscapes):
    raw = cityscapes[1]["label"]
    read = {
        protocol: open_split("cityscapes", "train", cityscapes[0], protocol=protocol)
        for protocol in ("", "synthia-16", "synthia-13")
    }
    labels = {name: dataset.read(tf.constant(1), ("label",))["label"].numpy()[..., 0] for name, dataset in read.items()}
    assert {name: len(dataset.classes) for name, dataset in read.items()} == {
        "": 19,
        "synthia-16": 16,
        "synthia-13": 13,
    }
    ids = {
        "": {7: 0, 8: 1, 22: 9, 27: 14, 0: 255, 33: 18},
        "synthia-16": {7: 0, 8: 1, 22: 255, 27: 255, 0: 255, 33: 15},
        "synthia-13": {7: 0, 8: 1, 22: 255, 27: 255, 0: 255, 33: 12},
    }
    for name, table in ids.items():
        for value, train_id in table.items():
            assert np.all(labels[name][raw == value] == train_id), (name, value)
