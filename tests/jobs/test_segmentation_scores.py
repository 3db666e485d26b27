"""Scores of frames some of whose labels are empty."""

import types

import ml_collections
import numpy as np

from sdeseg_jax.data.classes import VOID, ClassMap
from sdeseg_jax.jobs.evaluating import segmentation_scores

CLASSES = ClassMap("two", ("road", "car"), ((0, 0, 0), (0, 0, 9)))


def evaluate(monkeypatch, labels: np.ndarray):
    """Scores a network that predicts class 0 everywhere on labels [N, H, W], in batches of two."""
    pairs = [np.resize(labels[i : i + 2], (2, *labels.shape[1:])) for i in range(0, len(labels), 2)]
    batches = [{"image": np.zeros((*one.shape, 3)), "label": one} for one in pairs]
    counts = [min(2, len(labels) - 2 * i) for i in range(len(pairs))]
    monkeypatch.setattr(segmentation_scores, "evaluation_batches", lambda *_: zip(batches, counts, strict=True))
    index = types.SimpleNamespace(labeled=np.arange(len(labels)))
    dataset = types.SimpleNamespace(classes=CLASSES, index=index, image_size=labels.shape[1:])
    config = ml_collections.ConfigDict({"evaluation": {"batch_size": 2}})

    def predict(variables, images):
        return np.zeros(images.shape[:3], np.uint8)

    return segmentation_scores.evaluate_segmentation(config, dataset, predict, {})


def test_frames_without_annotated_pixels_are_counted_apart(monkeypatch):
    labels = np.full((3, 4, 4), VOID, np.uint8)
    found = evaluate(monkeypatch, labels)
    assert found.miou is None and found.pixel_accuracy is None and (found.images, found.annotated_images) == (3, 0)
    labels[2, 0] = 0, 0, 1, VOID
    found = evaluate(monkeypatch, labels)
    assert (found.images, found.annotated_images, found.scored_classes) == (3, 1, 2)
    assert found.miou == (100 * 2 / 3 + 0) / 2
