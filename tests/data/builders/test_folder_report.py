"""The report names files of own data that are not used or are changed."""

import re

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.data.builders.frame_encoding import image_size
from sdeseg_jax.data.builders.image_reading import read_image
from sdeseg_jax.data.builders.scanned_clips import IMAGE_SUFFIXES
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.preparation import report_text


def test_labels_of_another_size_and_broken_ones(folder, prepare, read):
    """A label exported at half size is an error; skipped, it does not cut the video."""
    tree = folder({"a": 5})
    tree.label("labels/1.png", np.full((16, 32), 7, np.uint8))
    tree.text("labels/2.png", "no image")
    tree.label("labels/3.png", np.full((32, 64), 7, np.uint8))
    message = r"labels/1.png: 32x16, but its image is 64x32\nA label needs the size of its image.*--on_corrupt=skip"
    with pytest.raises(SourceError, match=message):
        prepare(tree)
    builder = prepare(tree, on_corrupt="skip")
    assert builder.info.metadata["clips"]["train"] == [["a", [f"a_{i}" for i in range(5)]]]
    index = FrameDataset(builder, "train").index
    assert index.labeled.tolist() == [3] and index.with_neighbours.tolist() == [1, 2, 3]
    labels = [np.unique(record["label"]).tolist() for record in read(builder, "train").values()]
    assert labels == [[255], [255], [255], [1], [255]]
    report = report_text(builder.info.metadata["found"])
    assert "5 images of 1 clip, 1 with a label" in report
    for kind, file in (("label size", "1.png: 32x16, but"), ("corrupt label", "2.png: cannot be decoded")):
        assert f"labels left out, their images kept ({kind}): 1\n    {tree.root}/labels/{file}" in report
    (tree.root / "labels" / "1.png").unlink()
    message = r"labels/2.png: cannot be decoded .*\n.* leave out such labels, but not their frames"
    with pytest.raises(SourceError, match=message):
        prepare(tree)


@pytest.fixture
def notes(find):
    """Returns the notes of a scan, without that on validation.txt."""
    return lambda tree, **options: [note for note in find(tree, **options).notes if "validation" not in note]


def test_images_of_every_kind_that_predict_reads(folder, prepare, read, notes):
    names = [f"kind{number}{suffix}" for number, suffix in enumerate(IMAGE_SUFFIXES)]
    tree = folder(images=names, camera=None)
    for number, suffix in enumerate((".webp", ".tif", ".bmp")):
        tree.image(f"clips/a/{number}{suffix}", 10 * number)
    tree.text("camera.json", {"field_of_view": 90})
    records = read(prepare(tree), "train")
    assert set(records) == {"a_0", "a_1", "a_2", *(f"kind{number}" for number in range(len(names)))}
    np.testing.assert_allclose(records["a_1"]["image"], 10, atol=2)
    for number in range(len(names)):
        np.testing.assert_allclose(records[f"kind{number}"]["image"], 128, atol=2)
    assert notes(tree) == []


def test_files_that_cannot_be_read_are_named(folder, notes, find):
    tree = folder({"a": 2}, ["b.jpg"])
    for name in ("clips/a/notes.txt", "images/d.heic", "images/c.HEIC", "images/more/e.jpg"):
        tree.text(name, "")
    tree.text("clips/a/camera.json", (tree.root / "camera.json").read_text())
    tree.image("labels/b.tif")
    note, other = notes(tree)
    assert "4 files are not used because of their type (2 .heic, 1 .txt, 1 more/), e.g. images/c.HEIC; " in note
    assert "convert images to one of .png, .jpg, .jpeg, .webp, " in note
    assert other.endswith("labels: 1 files are not used because they are not PNG, e.g. b.tif; JPEG blurs class borders")
    tree = folder(camera=None)
    tree.text("images/c.heic", "")
    with pytest.raises(SourceError, match=r"holds no clips and no images.\n.* type \(1 .heic\), e.g. images/c.heic"):
        find(tree)
    tree.text("clips/a/1.heic", "")
    with pytest.raises(SourceError, match="clips/a holds no image, but 1 .heic; put the frames"):
        find(tree)


def test_images_of_another_shape_are_named(folder, notes):
    """Not those whose aspect ratio changes only by rounding to multiples of 32."""
    tree = folder({"a": 7}, ["wide.png"], camera=None)
    tree.text("clips/a.camera.json", {"field_of_view": 90})
    tree.image("images/about.png", size=(64, 31))
    tree.image("images/tall.png", size=(60, 90))
    tree.image("images/square.png", size=(50, 50))
    tree.text("images/broken.png", "no image")
    for number in range(4):
        tree.image(f"clips/upright/{number}.png", size=(32, 64))
    tree.text("clips/upright.camera.json", {"field_of_view": 40})
    for stride, number in ((1, 6), (3, 4)):  # of four frames the first and the last are stored
        (note,) = notes(tree, stride=stride)
        assert note.startswith(f"{number} images have another aspect ratio than 64x32 and are stretched to it, e.g. ")
        assert re.search(r"images/(tall.png \(60x90\)|square.png \(50x50\));", note)


def test_images_of_12_bits_are_read_alike(folder, prepare, read):
    """In files of 16 bits, as cameras for machine vision write them; a dark frame is not brightened."""
    tree = folder({"b": 1})
    for number, level in enumerate((4000, 240, 2000)):
        tree.deep_image(f"clips/a/{number}.png", np.full((32, 64), level) + np.arange(64) % 2)
    tree.label("labels/a/0.png", np.zeros((32, 64), np.uint8))
    builder = prepare(tree)
    note = builder.info.metadata["found"]["notes"][0]
    assert note.startswith("3 images have 16 bits per channel, but values up to 4001 only: they are read as 12-bit")
    for name, expected in (("a_0", 250), ("a_1", 15), ("a_2", 125)):
        np.testing.assert_allclose(read(builder, "train")[name]["image"], expected, atol=1)
    tree.deep_image("images/c.png", np.full((32, 64), 60_001))
    with pytest.raises(SourceError, match="images of clip 'a' have 16 bits per channel, but values up to 4001 only"):
        prepare(tree)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
def test_size_of_photos_that_are_turned_is_that_of_what_is_read(tmp_path, suffix):
    path, exif = tmp_path / f"a{suffix}", Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 32)).save(path, exif=exif)
    assert image_size([path]) == read_image(path).size == (32, 64)
