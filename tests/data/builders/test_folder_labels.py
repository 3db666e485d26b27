"""Labels at any depth, in either form of accents, behind links; and what is said where none is found."""

import itertools
import shutil
import unicodedata

import numpy as np
import pytest

from sdeseg_jax.data.builders.folder_frame_names import find_frames
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.frame_dataset import FrameDataset
from tests.data.builders.own_folder import CLASSES

LABEL = np.full((32, 64), 7, np.uint8)


def labeled(scan) -> dict[str, str]:
    frames = (frame for clips in scan.splits.values() for clip in clips for frame in clip.frames)
    return {frame.id: frame.label for frame in frames if frame.label}


@pytest.mark.parametrize("inside", ["", "sem_seg/masks/train", "images", "Images", "clips/park", "park", "data/park/x"])
@pytest.mark.parametrize("name", ["labels", "masks", "Labels", "SegmentationClass"])
def test_layouts(folder, find, name, inside):
    """Every label belongs to a.png of `images/` or 0.png of a clip, whatever lies between."""
    of_clip = "park" in inside
    tree = folder({"park": 3, "other": 3}, ["a.png"])
    place = "/".join(filter(None, (name, inside, "0.png" if of_clip else "a.png")))
    tree.label(place, LABEL)
    scan = find(tree)
    assert labeled(scan) == {"park_0" if of_clip else "a": str(tree.root / place)}
    assert not scan.warnings
    assert find_frames(tree.root)["park_1"].label.startswith(f"{name}/")  # where a new label would be written


def test_one_label_for_each_depth(folder, find):
    tree = folder(images=[f"{n}.jpg" for n in range(4)])
    for n in range(4):
        tree.label("/".join(["labels", *"abcd"[:n], f"{n}.jpg.png" if n == 3 else f"{n}.PNG"]), LABEL)
    assert list(labeled(find(tree))) == ["0", "1", "2", "3"]


def test_a_folder_called_like_a_clip_but_for_a_letter_is_a_mistake(folder, find):
    tree = folder({"city": 8, "ride": 3})
    tree.label("labels/rides/7.png", LABEL)
    tree.label("labels/ride/1.png", LABEL)
    scan = find(tree)
    assert list(labeled(scan)) == ["ride_1"] and "labels have no image and are not used: rides/7" in scan.notes[0]


def test_folders_that_lead_back_into_themselves(folder, find):
    tree = folder(images=["a.png"])
    tree.label("labels/x/a.png", LABEL)
    (tree.root / "labels/x/again").symlink_to(tree.root / "labels")
    assert list(labeled(find(tree))) == ["a"]


def test_classes_without_a_label(folder, find):
    tree = folder({"a": 3})
    (warning,) = find(tree).warnings
    assert "classes.json is there, but no image has a label" in warning
    assert (
        "labels was searched with all folders below it for PNG files named like images, e.g. labels/a/0.png" in warning
    )
    tree.label("my_annos/a/0.png", LABEL)
    (warning,) = find(tree).warnings
    assert "my_annos/ holds 1 PNG files named like images: rename the folder to labels" in warning
    tree.label("labels/1.png", LABEL)
    (warning,) = find(tree).warnings
    assert "labels alone: my_annos/ holds 1 PNG files named like images, which are not used" in warning
    assert not find(folder({"a": 3}, classes=None)).warnings


@pytest.mark.parametrize("forms", itertools.product(("NFC", "NFD"), repeat=4))
def test_accents(new_tree, find, forms):
    """Images, labels, validation.txt and the names of clips may come from different systems."""
    image, label, listed, clip = (unicodedata.normalize(form, "größe é") for form in forms)
    tree = new_tree()
    tree.image(f"images/{image}.png")
    for n in range(3):
        tree.image(f"clips/{clip} 2/{n}.png")
    tree.label(f"labels/{label}.png", LABEL)
    tree.label(f"labels/{label} 2/1.png", LABEL)
    tree.text("classes.json", CLASSES)
    tree.text(f"clips/{label} 2.camera.json", {"field_of_view": 90})
    tree.text("validation.txt", f"{listed} 2\n")
    scan, name = find(tree), unicodedata.normalize("NFC", "größe é")
    assert set(labeled(scan)) == {name, f"{name} 2_1"}
    assert [one.name for one in scan.splits["validation"]] == [f"{name} 2"]


def test_lists_of_ids_in_either_form(folder, prepare):
    builder = prepare(folder({"é": 3}, camera={"field_of_view": 90}, classes=None))
    dataset = FrameDataset(builder, "train")
    for form in ("NFC", "NFD"):
        assert dataset.positions([unicodedata.normalize(form, "é_1")]).tolist() == [1]
    with pytest.raises(ValueError, match="listed twice"):
        dataset.positions([unicodedata.normalize(form, "é_1") for form in ("NFC", "NFD")])


def test_two_images_of_one_name(folder, find):
    tree = folder()
    for form in ("NFC", "NFD"):
        tree.image(f"images/{unicodedata.normalize(form, 'é')}.png")
    with pytest.raises(SourceError, match="differ only in the form in which accents are stored"):
        find(tree)


@pytest.mark.parametrize("name", ["clips/a/1.png", "images/b.png", "labels/a/0.png"])
def test_broken_links(folder, prepare, name):
    tree = folder({"a": 3}, ["b.png", "c.png"])
    tree.label("labels/c.png", LABEL)
    path = tree.root / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("nowhere")
    with pytest.raises(SourceError, match=f"1 files are broken symbolic links, e.g. .*{name}, to nowhere. Repair"):
        prepare(tree)
    builder = prepare(tree, on_corrupt="skip")
    (skipped,) = builder.info.metadata["found"]["splits"]["train"]["skipped"]
    assert skipped[0] == ("corrupt label" if "labels" in name else "corrupt") and name in skipped[1]


@pytest.mark.parametrize("name", ["labels", "clips/b", "validation.txt"])
def test_broken_links_of_folders_and_lists(folder, find, name):
    tree = folder({"a": 3})
    (tree.root / name).symlink_to("nowhere")
    with pytest.raises(SourceError, match=name):
        find(tree)


@pytest.mark.parametrize("suffix", [".JPG", ".Png", ".jfif", ".JPE", ".pnm"])
def test_endings_of_images(folder, find, suffix):
    tree = folder(images=["a.png"])
    tree.image("images/b.ppm" if suffix == ".pnm" else "images/b.jpg")
    shutil.move(next((tree.root / "images").glob("b.*")), tree.root / f"images/b{suffix}")
    assert [clip.name for clip in find(tree).splits["train"]] == ["a", "b"]
