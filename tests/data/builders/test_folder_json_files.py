"""The files that describe own data: classes and cameras."""

import json

import numpy as np
import pytest

from sdeseg_jax.data.builders.camera_json import read_camera
from sdeseg_jax.data.builders.classes_json import read_classes
from sdeseg_jax.data.builders.source_errors import SourceError
from tests.data.builders.own_folder import CAMERA, CLASSES


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_classes_without_colours_or_ids(tmp_path):
    names = [str(i) for i in range(40)]
    path = write(tmp_path / "a.json", "\ufeff" + json.dumps({"classes": [{"name": name} for name in names]}))
    classes, labels = read_classes(path, "folder")
    assert classes.protocol == "folder-40" and list(classes.names) == names
    assert labels.colors is None and labels.train_ids == {**{i: i for i in range(40)}, 255: 255}
    colors = np.array(classes.colors)
    distances = np.abs(colors[:, None] - colors).sum(-1) + 1000 * np.eye(40)
    assert distances.min() > 20 and 0 <= colors.min() <= colors.max() <= 255


def test_several_void_colours(tmp_path):
    path = write(tmp_path / "a.json", {**CLASSES, "void_colors": [[1, 1, 1], [0, 0, 0]]})
    labels = read_classes(path, "x")[1]
    assert labels.colors == {(128, 64, 128): 0, (70, 130, 180): 1, (0, 0, 0): 255, (1, 1, 1): 255}
    assert labels.train_ids == {0: 0, 7: 1, 9: 255, 255: 255}


ROAD = {"name": "road"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"classes": [}', "is not valid JSON: .*line 1 column 14"),
        ([ROAD], "should look like this"),
        ({}, "'classes' should be a list"),
        ({"classes": []}, "'classes' should be a list"),
        ({"classes": ["road"]}, "'classes' should be a list"),
        ({"classes": [ROAD], "viod": [1]}, "unknown key 'viod'; did you mean 'void'?"),
        ({"classes": [{"name": "road", "colour": [1, 2, 3]}]}, "class 0: unknown key 'colour'; did you mean 'color'?"),
        ({"classes": [{"id": 1}]}, "class 0 needs a name"),
        ({"classes": [ROAD, ROAD]}, "the name 'road' is used twice"),
        ({"classes": [ROAD, {"name": "a", "id": 0}]}, "the id 0 is used twice"),
        ({"classes": [{"name": "a", "id": 255}]}, r"the id 255 is used twice \(255 is always void\)"),
        ({"classes": [{"name": "a", "id": 256}]}, "the id of class 'a' should be .* 0 to 255, not 256"),
        ({"classes": [{"name": "a", "id": "1"}]}, "the id of class 'a' should be .*, not '1'"),
        ({"classes": [ROAD], "void": [0]}, "the id 0 is used twice"),
        ({"classes": [ROAD], "void": 0}, "'void' should be a list"),
        ({"classes": [{**ROAD, "color": [1, 2]}]}, "color of class 'road' should be three numbers"),
        ({"classes": [{**ROAD, "color": [1, 2, 256]}]}, "color of class 'road' should be .* 255, not 256"),
        ({"classes": [{**ROAD, "color": "#102030"}]}, "color of class 'road' should be three numbers"),
        ({"classes": [{**ROAD, "color": [1, 2, 3]}], "void_color": [1, 2, 3]}, r"color \(1, 2, 3\) is used twice"),
        ({"classes": [ROAD], "void_colors": [[1, 2]]}, "'void_colors' should be three numbers"),
        ({"classes": [{"name": str(i)} for i in range(255)]}, "255 classes are too many; at most 254 are possible"),
    ],
)
def test_broken_classes(tmp_path, content, message):
    path = write(tmp_path / "classes.json", content)
    with pytest.raises(SourceError, match=f"(?s)^{path}.*{message}"):
        read_classes(path, "x")


def without(key):
    return {k: v for k, v in CAMERA.items() if k != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("fx: 50", "is not valid JSON"),
        ({}, "(?s)has no fx, fy, cx, cy, width, height.*field_of_view"),
        (without("cy"), "has no cy"),
        ({**CAMERA, "fx": "50"}, "'fx' should be a number, not '50'"),
        ({**CAMERA, "k1": 0.1}, "unknown key 'k1'"),
        ({**CAMERA, "fx": 0.8, "fy": 1.6, "cx": 0.5, "cy": 0.5}, "look normalised"),
        ({**CAMERA, "cx": 10, "cy": 5}, "for an image of about 20x10"),
        ({**CAMERA, "fx": -50}, "should be positive"),
        ({**CAMERA, "width": 64.5}, "whole numbers"),
        ({**CAMERA, "width": 0}, "should be positive"),
        ({**CAMERA, "field_of_view": 90}, "either 'field_of_view' or"),
        ({"field_of_view": 1.2}, "'field_of_view' should be 5 to 160 degrees, not 1.2"),
        ({"field_of_view": True}, "should be a number, not True"),
    ],
)
def test_broken_cameras(tmp_path, content, message):
    path = write(tmp_path / "camera.json", content)
    with pytest.raises(SourceError, match=message) as error:
        read_camera(path, lambda: (64, 32))
    assert str(error.value).startswith(str(path))
