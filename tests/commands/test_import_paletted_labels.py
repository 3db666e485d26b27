"""Label files from other tools, in palettes of any order, become the labels that a person sees in them."""

import json

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.commands import import_labels
from sdeseg_jax.data.builders.classes_json import read_classes
from sdeseg_jax.data.builders.label_pixels import read_label
from sdeseg_jax.data.builders.label_reading import choose_readings, decode_label
from tests.data.builders.png_writer import PALETTE, png

COLORS = {0: (128, 64, 128), 1: (0, 0, 142), 2: (70, 130, 180), 255: (0, 0, 0)}
TRUTH = np.resize(np.array([0, 1, 2, 255, 2, 0, 1], np.uint8), (32, 64))


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    (root / "images").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (64, 32), (number, 0, 0)).save(root / f"images/a{number}.png")
    entries = [{"name": name, "color": COLORS[i]} for i, name in enumerate(("road", "car", "sky"))]
    (root / "classes.json").write_text(json.dumps({"classes": entries, "void_color": COLORS[255]}))
    return root


def export_to(folder, orders):
    """Writes one palette PNG for each order of the classes."""
    folder.mkdir(parents=True)
    for number, order in enumerate(orders):
        indices = np.array([order.index(one) for one in TRUTH.ravel()]).reshape(TRUTH.shape)
        (folder / f"a{number}.png").write_bytes(png(indices, 8, PALETTE, [COLORS[one] for one in order]))
    return folder


ORDERS = ((2, 0, 1, 255), (255, 1, 0, 2), (0, 1, 2, 255), (1, 255, 2, 0))


def decoded(source):
    files = sorted(str(path) for path in (source / "labels").iterdir())
    labels = read_classes(source / "classes.json", "own")[1]
    readings = choose_readings(files, labels)
    return [decode_label(*read_label(path), labels, readings[path]) for path in files]


def test_palettes_in_any_order(source, tmp_path, capsys):
    arguments = [f"--source={source}", f"--export={export_to(tmp_path / 'export', ORDERS)}"]
    assert import_labels.main(arguments) == 0
    assert "4 labels are written" in capsys.readouterr().out
    for number, found in enumerate(decoded(source)):
        np.testing.assert_array_equal(np.asarray(Image.open(source / f"labels/a{number}.png")), TRUTH)
        np.testing.assert_array_equal(found, TRUTH)
    assert import_labels.main(arguments) == 0
    assert "0 labels are written; 4 existed already" in capsys.readouterr().out


def test_existing_labels_are_compared_by_what_they_mean(source, tmp_path, capsys):
    export_to(source / "labels", ORDERS)
    arguments = [f"--source={source}", f"--export={export_to(tmp_path / 'export', ORDERS[::-1])}"]
    assert import_labels.main(arguments) == 0
    assert "0 labels are written; 4 existed already" in capsys.readouterr().out


def test_masks_of_cvat_in_palettes(source, tmp_path):
    folder = tmp_path / "cvat"
    export_to(folder / "SegmentationClass", ORDERS)
    names = {0: "road", 1: "car", 2: "sky", 255: "background"}
    (folder / "labelmap.txt").write_text(
        "".join(f"{names[i]}:{','.join(map(str, color))}::\n" for i, color in COLORS.items())
    )
    assert import_labels.main([f"--source={source}", f"--export={folder}"]) == 0
    for found in decoded(source):
        np.testing.assert_array_equal(found, TRUTH)


def test_labels_name_their_classes(source, tmp_path, capsys):
    """Void beside black and white classes, which would look like a mask."""
    entries = [{"name": "background", "color": [0, 0, 0]}, {"name": "road", "color": [255, 255, 255]}]
    (source / "classes.json").write_text(json.dumps({"classes": entries}))
    outline = [0, 0, 20, 0, 20, 20, 0, 20]
    export = {
        "images": [{"id": 0, "file_name": "a0.png", "width": 64, "height": 32}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 0, "segmentation": [outline]}],
        "categories": [{"id": 0, "name": "background"}],
    }
    (tmp_path / "export.json").write_text(json.dumps(export))
    assert import_labels.main([f"--source={source}", f"--export={tmp_path / 'export.json'}"]) == 0
    expected = np.full((32, 64), 255)
    expected[:20, :20] = 0
    np.testing.assert_array_equal(decoded(source)[0], expected)
    assert json.loads(Image.open(source / "labels/a0.png").text["classes"]) == {"0": "background", "255": "void"}


def test_brush_masks_that_are_not_black_and_white_are_refused(source, tmp_path, capsys):
    (tmp_path / "brush").mkdir()
    Image.fromarray(np.ones((32, 64), np.uint8)).save(tmp_path / "brush/task-1-annotation-1-by-1-brush-road-0.png")
    (tmp_path / "tasks.json").write_text(json.dumps([{"id": 1, "image": "a0.png"}]))
    flags = [f"--source={source}", f"--export={tmp_path / 'brush'}", f"--tasks={tmp_path / 'tasks.json'}"]
    assert import_labels.main(flags) == 2
    assert "holds values up to 1, where brush masks have 0 and 255" in capsys.readouterr().err
