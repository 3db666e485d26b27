"""What every builder does with damaged files, empty splits and duplicate ids."""

import numpy as np
import pytest

from sdeseg_jax.data.builders.base_builder import FramesConfig
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.frame_dataset import FrameDataset

FOLDER = "train/img/001"


@pytest.fixture(scope="module")
def tree(new_tree):
    """Nine frames of video; the third is cut off and the seventh is not an image."""
    tree = new_tree()
    for n in range(1, 10):
        tree.image(f"{FOLDER}/001_{n:05d}.jpg", 20 * n)
    tree.truncate(f"{FOLDER}/001_00003.jpg")
    tree.text(f"{FOLDER}/001_00007.jpg", "<html>404 Not Found</html>")
    return tree


def test_a_broken_image_is_an_error_that_names_it_and_says_what_to_do(tree, build):
    with pytest.raises(SourceError, match=f"{FOLDER}/001_00003.jpg: cannot be decoded") as error:
        build("gta5_video", tree.root)
    assert "--on_corrupt=skip" in str(error.value)


def test_broken_images_can_be_skipped_and_cut_their_clip(tree, build, read):
    builder = build("gta5_video", tree.root, on_corrupt="skip")
    runs = [[f"train_001_{n:05d}" for n in run] for run in ((1, 2), (4, 5, 6), (8, 9))]
    metadata = builder.info.metadata
    assert metadata["clips"]["train"] == [["train_001_00001", run] for run in runs]
    assert FrameDataset(builder, "train").index.with_neighbours.tolist() == [3]
    assert list(read(builder, "train")) == sum(runs, [])
    found = metadata["found"]["splits"]["train"]
    assert found["images"] == 7 and found["clips"] == 1 and found["without_neighbours"] == 6
    (kind, cut_off), (other_kind, no_image) = found["skipped"]
    assert kind == other_kind == "corrupt"
    assert f"{FOLDER}/001_00003.jpg: cannot be decoded" in cut_off
    assert f"{FOLDER}/001_00007.jpg: cannot be decoded" in no_image


def test_a_split_of_which_nothing_could_be_stored(new_tree, build):
    tree = new_tree()
    tree.image(f"{FOLDER}/001_00001.jpg")
    tree.text("val/img/001/001_00001.jpg", "")
    with pytest.raises(SourceError, match="no frame of split 'validation' could be stored"):
        build("gta5_video", tree.root, on_corrupt="skip")


def test_a_split_without_files(new_tree, build):
    tree = new_tree()
    tree.image(f"{FOLDER}/001_00001.jpg")
    (tree.root / "val" / "img").mkdir(parents=True)
    with pytest.raises(SourceError, match=r"(?s)holds no frames for split 'validation'.*val/img/<seq>/"):
        build("gta5_video", tree.root)


def test_no_files_at_all(new_tree, build):
    tree = new_tree()
    for folder in ("images", "labels"):
        (tree.root / folder).mkdir()
    with pytest.raises(SourceError, match=r"(?s)holds no frames\. Expected:.*images/<number>.png"):
        build("gta5", tree.root)


def test_two_files_of_one_id(new_tree, build):
    tree = new_tree()
    for split in ("train", "val"):
        tree.image(f"leftImg8bit/{split}/ulm/ulm_000000_000019_leftImg8bit.png")
        tree.label(f"gtFine/{split}/ulm/ulm_000000_000019_gtFine_labelIds.png", np.zeros((32, 64), np.uint8))
    with pytest.raises(SourceError, match="1 frame ids belong to two files each, e.g. 'ulm_000000_000019'"):
        build("cityscapes", tree.root)


def test_images_of_another_aspect_ratio_than_the_intrinsics(new_tree, build):
    tree = new_tree()
    tree.image("leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png", size=(64, 48))
    tree.label("gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png", np.zeros((48, 64), np.uint8))
    message = "ulm_000000_000019_leftImg8bit.png: the intrinsics are for images of 2048x1024; this one is 64x48"
    with pytest.raises(SourceError, match=message):
        build("cityscapes", tree.root, on_corrupt="skip")


def test_no_source(build):
    with pytest.raises(SourceError, match="FramesConfig"):
        build("gta5", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"on_corrupt": "ignore"}, "on_corrupt should be"), ({"width": -1}, "negative"), ({"processes": -2}, "negative")],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        FramesConfig(**settings)
