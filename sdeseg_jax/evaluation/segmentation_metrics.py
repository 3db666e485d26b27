"""Intersection over union and accuracies from a confusion matrix."""

import dataclasses

import numpy as np

from sdeseg_jax.data.classes import SYNTHIA_13, SYNTHIA_16, VOID, ClassMap


def confusion_matrix(prediction: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """Counts pixels by (true class, predicted class), without void.

    Args:
      prediction, label: integers of the same shape; label may hold 255 (void).

    Returns:
      int64 [classes, classes].
    """
    valid = label != VOID
    index = label[valid].astype(np.int64) * classes + prediction[valid].astype(np.int64)
    return np.bincount(index, minlength=classes * classes).reshape(classes, classes)


@dataclasses.dataclass(frozen=True)
class SegmentationScores:
    """Scores of one evaluation.

    Attributes:
      protocol: name of the class list; scores of different protocols cannot be compared.
      miou: mean IoU over the classes that occur in labels or predictions, in percent.
      iou: class name -> IoU in percent; None for a class that occurs in neither.
      pixel_accuracy: in percent.
      class_accuracy: share of correct pixels per class, averaged over the classes that occur in labels, percent.
      frequency_weighted_iou: mean IoU weighted by the classes' share of the labelled pixels, percent.
      images: number of scored images.
      inference: resolution, windows, mirroring and scales; see `evaluation.inference`.
      subsets: protocol -> mean IoU over its subset of the classes, where it is customary: SYNTHIA's 13 of 16.
      confusion: pixels by (true class, predicted class), in the order of `iou`, without void.
    """

    protocol: str
    miou: float
    iou: dict[str, float | None]
    pixel_accuracy: float
    class_accuracy: float
    frequency_weighted_iou: float
    images: int
    inference: str
    subsets: dict[str, float] = dataclasses.field(default_factory=dict)
    confusion: list[list[int]] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict:
        """Returns the scores as a plain dict."""
        return dataclasses.asdict(self)


def scores(confusion: np.ndarray, classes: ClassMap, images: int, inference: str = "") -> SegmentationScores:
    """Returns scores of a confusion matrix [C, C], true classes in rows; `inference` says how predictions were made."""
    hits, true = np.diag(confusion).astype(np.float64), confusion.sum(1)
    union = confusion.sum(0) + true - hits
    iou = np.where(union > 0, 100.0 * hits / np.maximum(union, 1), np.nan)
    subsets = {}
    if classes == SYNTHIA_16:
        kept = iou[[classes.names.index(name) for name in SYNTHIA_13.names]]
        subsets[SYNTHIA_13.protocol] = float(np.nanmean(kept)) if not np.isnan(kept).all() else 0.0
    return SegmentationScores(
        protocol=classes.protocol,
        miou=float(np.nanmean(iou)) if np.any(union > 0) else 0.0,
        iou={name: None if np.isnan(value) else float(value) for name, value in zip(classes.names, iou, strict=True)},
        pixel_accuracy=float(100.0 * hits.sum() / max(true.sum(), 1)),
        class_accuracy=float(100.0 * np.mean(hits[true > 0] / true[true > 0])) if true.any() else 0.0,
        frequency_weighted_iou=float(np.nansum(iou * true) / max(true.sum(), 1)),
        images=images,
        inference=inference,
        subsets=subsets,
        confusion=confusion.astype(np.int64).tolist(),
    )
