"""SYNTHIA-RAND-CITYSCAPES and SYNTHIA-SEQS: 16-bit labels, the classes, sequences as splits."""

import numpy as np
import pytest

from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import SYNTHIA_13, SYNTHIA_16
from sdeseg_jax.data.frame_dataset import FrameDataset

CLASSES = range(23)
OF_CLASSES = (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11)
TRAIN_IDS = {label_id: train_id for train_id, label_id in enumerate(OF_CLASSES)}
SIZE = (64, 38)  # 1280x760 / 20
INTRINSICS = [[532.740352 / 40, 0, 15.5], [0, 532.740352 * 16 / 760, 7.5], [0, 0, 1]]


@pytest.fixture(scope="module")
def label():
    return np.resize(np.arange(23, dtype=np.uint8), (19, 32)).repeat(2, 0).repeat(2, 1)


@pytest.fixture(scope="module")
def builder(new_tree, build, label):
    tree = new_tree()
    for n in range(6):
        tree.image(f"RGB/{n:07d}.png", 40 * n, SIZE)
        tree.deep_label(f"GT/LABELS/{n:07d}.png", label)
        tree.label(f"GT/COLOR/{n:07d}.png", np.stack([label] * 3, -1))
    tree.clutter("", "RGB", "GT/LABELS")
    return build("synthia", tree.root, width=32, height=19)


def test_labels_are_the_first_channel_of_16_bit_files(builder, read, label):
    expected = np.vectorize(lambda value: TRAIN_IDS.get(value, 255))(label[::2, ::2])
    assert set(expected.ravel()) == {*range(19), 255}
    records = read(builder, "train")
    assert list(records) == [f"{n:07d}" for n in range(5)] and list(read(builder, "validation")) == ["0000005"]
    for name, record in records.items():
        np.testing.assert_array_equal(record["label"][..., 0], expected)
        np.testing.assert_allclose(record["image"], 40 * int(name), atol=2)
        np.testing.assert_allclose(record["intrinsics"][0], INTRINSICS[0], rtol=1e-6)
        np.testing.assert_allclose(record["intrinsics"][1], [0, 532.740352 / 40, 9], rtol=1e-6)
    assert builder.info.metadata["found"]["notes"] == [
        "6 images are a part of the dataset: the last fifth (1) is 'validation'"
    ]


@pytest.mark.parametrize("protocol", [SYNTHIA_16, SYNTHIA_13])
def test_labels_can_be_read_in_synthias_protocols(builder, protocol):
    assert FrameDataset(builder, "validation", protocol).classes == protocol


def test_a_class_that_synthia_does_not_have(new_tree, build, label):
    tree = new_tree()
    for n in range(5):
        tree.image(f"RGB/{n:07d}.png", 0, SIZE)
        tree.deep_label(f"GT/LABELS/{n:07d}.png", label + 2 * (n == 3))
    with pytest.raises(SourceError, match=r"LABELS/0000003.png: holds class ids .*\[23, 24\]"):
        build("synthia", tree.root)


def test_missing_folder(new_tree, scan):
    tree = new_tree()
    tree.image("RAND_CITYSCAPES/RGB/0000000.png")
    with pytest.raises(SourceError, match=r"(?s)has no folder RGB, GT/LABELS.*RAND_CITYSCAPES/"):
        scan("synthia", tree.root)


@pytest.fixture(scope="module")
def video(new_tree, build):
    tree = new_tree()
    for sequence, numbers in (("02-FALL", (0, 1, 2, 4)), ("01-SUMMER", range(3)), ("05-RAIN", range(2))):
        folder = f"SYNTHIA-SEQS-{sequence}"
        for n in numbers:
            tree.image(f"{folder}/RGB/Stereo_Left/Omni_F/{n:06d}.png", 50 * n, SIZE)
        for camera in ("Stereo_Left/Omni_B", "Stereo_Right/Omni_F"):
            tree.image(f"{folder}/RGB/{camera}/000000.png", 0, SIZE)
        tree.clutter(folder, f"{folder}/RGB/Stereo_Left/Omni_F")
    tree.text("SYNTHIA-SEQS-06-NIGHT/CameraParams/intrinsics.txt", "532.740352")
    tree.clutter("", "__MACOSX/SYNTHIA-SEQS-01-SUMMER")
    return build("synthia_video", tree.root)


def test_the_last_sequence_is_validation(video, read):
    assert video.info.metadata["clips"]["train"] == [
        ["SYNTHIA-SEQS-01-SUMMER_000000", [f"SYNTHIA-SEQS-01-SUMMER_{n:06d}" for n in (0, 1, 2)]],
        ["SYNTHIA-SEQS-02-FALL_000000", [f"SYNTHIA-SEQS-02-FALL_{n:06d}" for n in (0, 1, 2)]],
        ["SYNTHIA-SEQS-02-FALL_000004", ["SYNTHIA-SEQS-02-FALL_000004"]],
    ]
    assert list(read(video, "validation")) == [f"SYNTHIA-SEQS-05-RAIN_{n:06d}" for n in (0, 1)]
    for name, record in read(video, "train").items():
        np.testing.assert_allclose(record["image"], 50 * int(name[-6:]), atol=2)
        np.testing.assert_allclose(record["intrinsics"], INTRINSICS, rtol=1e-6)
    assert video.info.metadata["found"]["notes"] == [
        "SYNTHIA-SEQS-06-NIGHT has no RGB/Stereo_Left/Omni_F; it is left out"
    ]
    assert "label" not in video.info.features


def test_a_single_sequence_has_no_validation(new_tree, scan):
    tree = new_tree()
    tree.image("SYNTHIA-SEQS-01-SUMMER/RGB/Stereo_Left/Omni_F/000000.png")
    found = scan("synthia_video", tree.root)
    assert list(found.splits) == ["train"] and found.notes == ("only one sequence: no split 'validation'",)


@pytest.mark.parametrize("folder", ["SYNTHIA-SEQS-01-SUMMER", "nowhere"])
def test_no_sequence(new_tree, scan, folder):
    tree = new_tree()
    tree.image("SYNTHIA-SEQS-01-SUMMER/RGB/Stereo_Left/Omni_F/000000.png")
    with pytest.raises(SourceError, match=r"(?s)has no sequence.*SYNTHIA-SEQS-<nn>-<SEASON>/.*Found in"):
        scan("synthia_video", tree.root / folder)
