"""Single frames as stored: quality, resizing, label formats, and problems of damaged files."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.frame_encoding import Problem, Task, encode_frame
from sdeseg_jax.data.builders.scanned_clips import Frame, LabelFormat

SIZE = (32, 16)
IDS = LabelFormat.from_ids({7: 0, 8: 1, 26: 13}, void=(0, 255))
DEEP = LabelFormat.from_ids({3: 0, 4: 1}, void=(0,), deep=True)
COLORS = LabelFormat({}, {(128, 64, 128): 0, (244, 35, 232): 1, (0, 0, 0): 255})


def decode(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


@pytest.fixture
def tree(new_tree):
    tree = new_tree()
    tree.image("image.png")
    return tree


@pytest.fixture
def encode(tree):
    """Encodes `image.png` with other files of the tree: (format of the label, fields of the frame) -> result."""

    def run(labels=None, stereo=False, size=SIZE, image="image.png", **fields):
        files = {name: str(tree.root / value) if isinstance(value, str) else value for name, value in fields.items()}
        return encode_frame(Task(Frame("a", str(tree.root / image), **files), size, labels, stereo))

    return run


def test_images_are_stored_with_little_loss(tree, encode):
    y, x = np.mgrid[:128, :256]
    smooth = np.stack([128 + 100 * np.sin(x / 40), 128 + 90 * np.cos(y / 30), (x + y) / 2], -1).astype(np.uint8)
    Image.fromarray(smooth).save(tree.root / "image.png")
    stored = decode(encode(size=(256, 128))["image"])
    error = np.mean((stored.astype(float) - smooth) ** 2)
    assert 10 * np.log10(255**2 / error) > 40


def test_a_fine_checkerboard_shrinks_to_grey(tree, encode):
    board = np.indices((64, 128)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tree.root / "image.png")
    stored = decode(encode()["image"])
    assert stored.shape == (16, 32, 3)
    np.testing.assert_allclose(stored, 127.5, atol=4)


def test_shrinking_keeps_pixel_centres(tree, encode):
    ramp = np.tile(np.arange(128, dtype=np.uint8) * 2, (64, 1))
    Image.fromarray(ramp).save(tree.root / "image.png")
    stored = decode(encode()["image"])[:, 2:-2, 0]
    expected = 2 * ((np.arange(2, 30) + 0.5) * 4 - 0.5)
    np.testing.assert_allclose(stored, np.tile(expected, (16, 1)), atol=2)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1"])
def test_images_of_any_mode_become_rgb(tree, encode, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    tree.image(f"other.{suffix}", 255, mode=mode)
    np.testing.assert_allclose(decode(encode(image=f"other.{suffix}")["image"]), np.full((16, 32, 3), 255), atol=2)


def test_labels_are_resized_without_mixing_classes(tree, encode):
    label = np.random.default_rng(0).choice([0, 7, 8, 26], (32, 64)).astype(np.uint8)
    tree.label("label.png", label)
    stored = decode(encode(IDS, label="label.png")["label"])
    table = np.full(256, 255)
    table[[7, 8, 26]] = 0, 1, 13
    rows, columns = ((np.arange(n) + 0.5) * 2 for n in (16, 32))
    np.testing.assert_array_equal(stored, table[label[rows.astype(int)][:, columns.astype(int)]])
    kept = decode(encode(IDS, label="label.png", size=(64, 32))["label"])
    np.testing.assert_array_equal(kept, table[label])


def test_palette_labels_are_read_by_index(tree, encode, blocks):
    label, small = blocks((7, 8, 26))
    tree.palette_label("label.png", label)
    stored = decode(encode(IDS, label="label.png")["label"])
    np.testing.assert_array_equal(stored, np.select([small == 7, small == 8], [0, 1], 13))


def test_labels_of_one_bit_or_with_transparency_are_read_by_value(tree, encode, blocks):
    label, small = blocks((0, 1))
    Image.fromarray(label.astype(bool)).save(tree.root / "label.png")
    stored = decode(encode(LabelFormat.from_ids({0: 4, 1: 5}, void=()), label="label.png")["label"])
    np.testing.assert_array_equal(stored, small + 4)
    Image.fromarray(np.full((32, 64), 26, np.uint8)).convert("LA").save(tree.root / "label.png")
    np.testing.assert_array_equal(decode(encode(IDS, label="label.png")["label"]), 13)


def test_deep_labels_are_read_from_the_first_channel(tree, encode, blocks):
    label, small = blocks((0, 3, 4))
    tree.deep_label("label.png", label)
    stored = decode(encode(DEEP, label="label.png")["label"])
    np.testing.assert_array_equal(stored, np.select([small == 3, small == 4], [0, 1], 255))


@pytest.mark.parametrize("alpha", [False, True])
def test_labels_of_colours(tree, encode, blocks, alpha):
    label, small = blocks((0, 1, 2))
    palette = np.array([(128, 64, 128, 9), (244, 35, 232, 9), (0, 0, 0, 9)], np.uint8)
    tree.label("label.png", palette[label][..., : 3 + alpha])
    stored = decode(encode(COLORS, label="label.png")["label"])
    np.testing.assert_array_equal(stored, np.array([0, 1, 255])[small])


def test_frames_without_label_and_stereo_disparity(encode):
    result = encode(IDS, stereo=True)
    assert (decode(result["label"]) == 255).all() and decode(result["label"]).shape == (16, 32)
    stereo = decode(result["stereo_disparity"])
    assert stereo.dtype == np.uint16 and stereo.shape == (16, 32) and not stereo.any()
    assert np.isnan(result["intrinsics"]).all()
    assert set(encode()) == {"image", "intrinsics"}


def test_stereo_disparity_is_resized_without_mixing_known_and_unknown(tree, encode):
    values = np.random.default_rng(0).choice([0, 700, 32257], (48, 96))
    tree.deep_image("disparity.png", values)
    stored = decode(encode(stereo=True, stereo_disparity="disparity.png")["stereo_disparity"])
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, values[1::3, 1::3])


@pytest.mark.parametrize("content", [None, b"", b"no image", "cut"])
@pytest.mark.parametrize(
    ("field", "labels"), [("image", None), ("label", IDS), ("label", DEEP), ("stereo_disparity", None)]
)
def test_broken_files_are_named(tree, encode, field, labels, content):
    tree.deep_label("file.png", np.full((32, 64), 3))
    if content is None:
        (tree.root / "file.png").unlink()
    elif content == "cut":
        tree.truncate("file.png")
    else:
        (tree.root / "file.png").write_bytes(content)
    problem = encode(labels, stereo=field == "stereo_disparity", **{field: "file.png"})
    assert isinstance(problem, Problem) and problem.kind == ("corrupt label" if field == "label" else "corrupt")
    assert (problem.unlabeled is not None) == (field == "label")
    assert problem.message.startswith(f"{tree.root / 'file.png'}: cannot be decoded (")


def test_a_label_of_another_size(tree, encode):
    tree.label("label.png", np.zeros((31, 64), np.uint8))
    problem = encode(IDS, label="label.png")
    assert problem.kind == "label size"
    assert problem.message == f"{tree.root / 'label.png'}: 64x31, but its image is 64x32"
    assert problem.unlabeled.keys() == encode(IDS).keys()
    np.testing.assert_array_equal(decode(problem.unlabeled["label"]), 255)


@pytest.mark.parametrize(
    ("labels", "value", "message"),
    [
        (IDS, 9, r"not in the list of classes: \[9\] \(100.00% of pixels\)"),
        (IDS, (7, 8, 9), "holds colours, where class ids"),
        (COLORS, (1, 2, 3), r"not in the list of classes: \[\(1, 2, 3\)\]"),
        (DEEP, 3, r"not in the list of classes: \[7\d\d\]"),  # of 8 bits, where 16 are expected
    ],
)
def test_labels_of_unknown_classes(tree, encode, labels, value, message):
    tree.label("label.png", np.full((32, 64, 3)[: 2 + isinstance(value, tuple)], value, np.uint8))
    problem = encode(labels, label="label.png")
    assert problem.kind == "label" and problem.message.startswith(str(tree.root / "label.png"))
    assert re.search(message, problem.message)


def test_intrinsics_are_of_the_stored_size(encode):
    result = encode(camera=Camera(50, 60, 30, 15, 64, 32))
    np.testing.assert_allclose(result["intrinsics"], [[25, 0, 14.75], [0, 30, 7.25], [0, 0, 1]])
    problem = encode(camera=Camera(50, 60, 30, 15, 64, 48))
    assert problem.kind == "camera" and "image.png: the intrinsics are for images of 64x48" in problem.message
