"""Confusion matrix and IoU against a case made by hand and a loop over pixels."""

import json

import numpy as np
import pytest

from sdeseg_jax.data.classes import CITYSCAPES, SYNTHIA_16, ClassMap
from sdeseg_jax.evaluation.segmentation_metrics import confusion_matrix, is_of_one_class, scope, scopes, scores

THREE = ClassMap("three", ("road", "car", "train"), ((0, 0, 0),) * 3)

# Void at two pixels. road: 2 of 3 hit, and once predicted for car. car: 1 of 2 hit, once predicted for road.
LABEL = np.array([[0, 0, 0, 255], [1, 1, 255, 255]], np.uint8)
PREDICTION = np.array([[0, 0, 1, 0], [1, 0, 2, 1]], np.uint8)


def test_by_hand():
    confusion = confusion_matrix(PREDICTION, LABEL, 3)
    assert confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    result = scores(confusion, THREE, images=1)
    assert result.iou == pytest.approx({"road": 100 * 2 / 4, "car": 100 / 3, "train": None})
    assert result.miou == pytest.approx((50 + 100 / 3) / 2)  # the absent class does not count
    assert result.pixel_accuracy == pytest.approx(60)
    assert result.class_accuracy == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)
    assert result.frequency_weighted_iou == pytest.approx((3 * 50 + 2 * 100 / 3) / 5)
    assert (result.protocol, result.images) == ("three", 1)
    kept = json.loads(json.dumps(result.to_json()))
    assert kept["iou"]["train"] is None and kept["confusion"] == confusion.tolist()


def test_class_that_is_only_predicted_counts_as_zero():
    result = scores(confusion_matrix(np.array([0, 2]), np.array([0, 0]), 3), THREE, 1)
    assert result.iou == {"road": 50.0, "car": None, "train": 0.0} and result.miou == 25


def test_nothing_but_void():
    confusion = confusion_matrix(np.zeros(4, np.uint8), np.full(4, 255, np.uint8), 3)
    assert confusion.shape == (3, 3) and confusion.sum() == 0
    result = scores(confusion, THREE, 2, annotated_images=0)
    for value in (result.miou, result.pixel_accuracy, result.class_accuracy, result.frequency_weighted_iou):
        assert value is None
    assert set(result.iou.values()) == {None} and result.scored_classes == result.labelled_classes == 0
    kept = result.to_json()
    assert json.loads(json.dumps(kept, allow_nan=False))["miou"] is None and not is_of_one_class(kept)
    assert scope(kept) == "not scored: no annotated pixel in 2 frames with a label"
    assert scores(np.zeros((16, 16)), SYNTHIA_16, 1).subsets == {"synthia-13": None}


def test_a_score_says_what_it_is_of():
    mixed = scores(confusion_matrix(PREDICTION, LABEL, 3), THREE, 7, annotated_images=6).to_json()
    assert (mixed["scored_classes"], mixed["labelled_classes"], mixed["annotated_images"]) == (2, 2, 6)
    assert scope(mixed) == "mean over 2 of 3 classes, 6 of 7 frames have annotated pixels"
    assert scopes({"baseline": mixed, "method": mixed}) == [f"mIoU: {scope(mixed)}"]
    one = scores(np.diag([5, 0, 0]), THREE, 1, annotated_images=1).to_json()
    assert one["miou"] == 100 and is_of_one_class(one) and not is_of_one_class(mixed)
    assert scope(one).startswith("mean over 1 of 3 classes of which ONE is annotated: predicting it everywhere scores")
    assert [line[:16] for line in scopes({"baseline": mixed, "method": one})] == [
        "mIoU of baseline",
        "mIoU of method: ",
    ]
    old = {name: mixed[name] for name in ("miou", "iou", "images")}
    assert scope(old) == "mean over 2 of 3 classes" and not is_of_one_class(old) and scope({"miou": 20.0}) == ""


def test_against_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 17, (3, 20, 30)).astype(np.uint8)  # classes 17 and 18 do not occur
    prediction = np.where(rng.random(label.shape) < 0.4, label, rng.integers(0, 18, label.shape)).astype(np.uint8)
    label[rng.random(label.shape) < 0.1] = 255
    result = scores(sum(confusion_matrix(p, y, 19) for p, y in zip(prediction, label, strict=True)), CITYSCAPES, 3)

    pixels = [(int(p), int(y)) for p, y in zip(prediction.ravel(), label.ravel(), strict=True) if y != 255]
    expected = {}
    for index, name in enumerate(CITYSCAPES.names):
        both = sum(p == index and y == index for p, y in pixels)
        either = sum(p == index or y == index for p, y in pixels)
        expected[name] = 100 * both / either if either else None
    assert result.iou == pytest.approx(expected)
    assert expected["motorcycle"] == 0 and expected["bicycle"] is None
    assert result.miou == pytest.approx(np.mean([value for value in expected.values() if value is not None]))
    assert result.pixel_accuracy == pytest.approx(100 * np.mean([p == y for p, y in pixels]))


def test_synthia_s_13_classes_are_averaged_beside_the_16():
    confusion = np.diag(np.full(16, 3))
    wall = SYNTHIA_16.names.index("wall")
    confusion[wall, wall], confusion[wall, 0] = 0, 3  # all wall is taken for road
    result = scores(confusion, SYNTHIA_16, 1)
    assert result.miou == pytest.approx((14 * 100 + 50 + 0) / 16)
    assert result.subsets == {"synthia-13": pytest.approx((12 * 100 + 50) / 13)}
    assert scores(np.eye(19), CITYSCAPES, 1).subsets == {}
