"""What `prepare_data` says about labels: shares of classes, warnings, a preview; the same at the second call."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.data.builders.label_statistics import LabelStatistics, class_table, label_warnings
from sdeseg_jax.data.preparation import prepare_from_source, report_text
from sdeseg_jax.data.preview_sheet import FILE, FRAMES

ROAD, SKY, VOID = 0, 7, 255
"""Values in label files of `own_folder.CLASSES`."""


def test_counts_against_a_plain_reference():
    rng = np.random.default_rng(0)
    labels = [np.full((9, 9), 255), *(rng.choice([0, 1, 3, 255], (9, 9)) for _ in range(20)), np.full((9, 9), 3)]
    counted = [(str(n), {str(v): int((one == v).sum()) for v in np.unique(one)}) for n, one in enumerate(labels)]
    found = LabelStatistics.count(counted, 4)
    assert found.pixels == [sum(int((one == v).sum()) for one in labels) for v in range(4)]
    assert found.frames == [sum((one == v).any() for one in labels) for v in range(4)]
    assert found.void == sum(int((one == 255).sum()) for one in labels)
    assert (found.annotated, found.all_void, found.one_class) == (22, ["0"], [["21", 3]])
    assert LabelStatistics(**found.to_json()) == found


@pytest.fixture(scope="module")
def output(folder, tmp_path_factory):
    """(source, folder of the prepared dataset, its builder): road and sky, one frame void, one with road only."""
    tree = folder({"a": 4}, ["b.png"], validation="b")
    half = np.full((32, 64), ROAD, np.uint8)
    half[:16] = SKY
    half[16:24] = VOID
    for n, label in enumerate((half, np.full_like(half, VOID), np.full_like(half, ROAD))):
        tree.label(f"labels/a/{n}.png", label)
    tree.label("labels/b.png", np.full_like(half, SKY))
    folder_of_all = tmp_path_factory.mktemp("prepared")
    builder, _ = prepare_from_source("folder", str(tree.root), str(folder_of_all), (32, 32), processes=1)
    return tree.root, folder_of_all, builder


def test_the_report_of_a_folder(output):
    text = report_text(output[2].info.metadata["found"])
    for line in (
        "  class       train pixels  frames  validation pixels  frames",
        "  road              71.43%       2               none       0",
        "  sky               28.57%       1            100.00%       1",
        "  void       41.67% of all                       none",
        "WARNING: train: 1 labels are all void: a_1",
        "WARNING: train: 1 labels hold one class only: a_2 (road)",
        "WARNING: validation: no pixel of road. If there should be some",
    ):
        assert line in text, text
    assert text.splitlines()[-1].startswith("WARNING: ")


def test_a_second_call_prints_the_same(output):
    source, prepared, builder = output
    again, before = prepare_from_source("folder", str(source), str(prepared), (32, 32), processes=1)
    assert before and report_text(again.info.metadata["found"]) == report_text(builder.info.metadata["found"])


def test_the_preview(output):
    with Image.open(pathlib.Path(output[2].data_path) / FILE) as sheet:
        pixels = np.asarray(sheet)
    assert sheet.width > 4 * 400  # four annotated frames in a row
    left = 100  # in the first frame: sky above road, half image, half colour
    np.testing.assert_allclose(pixels[-400, left], np.array([70, 130, 180]) // 2, atol=12)
    np.testing.assert_allclose(pixels[-40, left], np.array([128, 64, 128]) // 2, atol=12)
    assert (pixels[:24] != 255).any()  # the legend


def test_the_preview_of_videos_without_labels(folder, prepare):
    builder = prepare(folder({"a": 20}, classes=None))
    with Image.open(pathlib.Path(builder.data_path) / FILE) as sheet:
        assert sheet.height > FRAMES / 4 * 200
    assert "class" not in report_text(builder.info.metadata["found"])


def test_labels_without_any_class_and_one_class_alone():
    void = LabelStatistics.count([("a", {"255": 9})], 2)
    (warning,) = label_warnings({"train": void}, ("road", "sky"))
    assert "no label has a pixel of any class, all 1 are void" in warning
    assert not label_warnings({"train": LabelStatistics.count([("a", {"0": 9})], 1)}, ("road",))
    assert not class_table({"train": LabelStatistics.count([], 2)}, ("road", "sky"))


def test_shares_are_not_rounded_to_nothing():
    found = LabelStatistics.count([("a", {"0": 10**6, "1": 1})], 2)
    assert "<0.01%" in class_table({"train": found}, ("road", "sky"))[3]


def test_datasets_that_were_prepared_before_this():
    counts = dict(images=5, labels=2, clips=1, without_neighbours=2, only_neighbours=0, skipped=[])
    text = report_text({"splits": {"train": counts}, "notes": []})
    assert "prepared before pixels per class were counted" in text


@pytest.mark.parametrize("name", ["camvid", "gta5", "synthia", "cityscapes"])
def test_all_builders_count(name, new_tree, build):
    """Values of road, and of nothing else."""
    tree, value = new_tree(), {"camvid": 3, "gta5": 7, "synthia": 3, "cityscapes": 7}[name]
    size = (128, 76) if name == "synthia" else (64, 32)  # what fits its camera
    label = np.full(size[::-1], value, np.uint8)
    for n in range(6):
        if name == "camvid":
            tree.image(f"train/x_{n:05d}.png")
            tree.label(f"trainannot/x_{n:05d}.png", label)
        elif name == "cityscapes":
            tree.image(f"leftImg8bit/train/ulm/ulm_000000_{n:06d}_leftImg8bit.png")
            tree.label(f"gtFine/train/ulm/ulm_000000_{n:06d}_gtFine_labelIds.png", label)
        else:
            tree.image(f"{'images' if name == 'gta5' else 'RGB'}/{n:05d}.png", size=size)
            write = tree.palette_label if name == "gta5" else tree.deep_label
            write(f"{'labels' if name == 'gta5' else 'GT/LABELS'}/{n:05d}.png", label)
    text = report_text(build(name, tree.root).info.metadata["found"])
    (road,) = (line for line in text.splitlines() if line.startswith("  road "))
    assert "100.00%" in road
    assert "WARNING: train: no pixel of " in text and "labels hold one class only: " in text
