"""Intersection over union and accuracies from a confusion matrix."""

import dataclasses
from collections.abc import Mapping

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
    """Scores of one evaluation; those of which there is nothing to score are None.

    Attributes:
      protocol: name of the class list; scores of different protocols cannot be compared.
      miou: mean IoU over the classes that occur in labels or predictions, in percent.
      iou: class name -> IoU in percent; None for a class that occurs in neither.
      pixel_accuracy: in percent.
      class_accuracy: share of correct pixels per class, averaged over the classes that occur in labels, percent.
      frequency_weighted_iou: mean IoU weighted by the classes' share of the labelled pixels, percent.
      images: number of images with a label.
      inference: resolution, windows, mirroring and scales; see `evaluation.inference`.
      subsets: protocol -> mean IoU over its subset of the classes, where it is customary: SYNTHIA's 13 of 16.
      confusion: pixels by (true class, predicted class), in the order of `iou`, without void.
      annotated_images: how many of the images have annotated pixels, so that they can be scored; None if unknown.
      scored_classes: number of classes that `miou` is the mean over.
      labelled_classes: number of classes that occur in labels. With one alone, a network that predicts nothing else
        scores 100.
    """

    protocol: str
    miou: float | None
    iou: dict[str, float | None]
    pixel_accuracy: float | None
    class_accuracy: float | None
    frequency_weighted_iou: float | None
    images: int
    inference: str
    subsets: dict[str, float | None] = dataclasses.field(default_factory=dict)
    confusion: list[list[int]] = dataclasses.field(default_factory=list)
    annotated_images: int | None = None
    scored_classes: int = 0
    labelled_classes: int = 0

    def to_json(self) -> dict:
        """Returns the scores as a plain dict."""
        return dataclasses.asdict(self)


def scores(
    confusion: np.ndarray, classes: ClassMap, images: int, inference: str = "", annotated_images: int | None = None
) -> SegmentationScores:
    """Returns the scores of a confusion matrix.

    Args:
      confusion: pixels [C, C], true classes in rows.
      classes: their names.
      images, inference, annotated_images: see `SegmentationScores`.
    """
    hits, true = np.diag(confusion).astype(np.float64), confusion.sum(1)
    union = confusion.sum(0) + true - hits
    iou = np.where(union > 0, 100.0 * hits / np.maximum(union, 1), np.nan)
    subsets = {}
    if classes == SYNTHIA_16:
        subsets[SYNTHIA_13.protocol] = _mean(iou[[classes.names.index(name) for name in SYNTHIA_13.names]])
    pixels = int(true.sum())
    return SegmentationScores(
        protocol=classes.protocol,
        miou=_mean(iou),
        iou={name: None if np.isnan(value) else float(value) for name, value in zip(classes.names, iou, strict=True)},
        pixel_accuracy=float(100.0 * hits.sum() / pixels) if pixels else None,
        class_accuracy=_mean(100.0 * hits[true > 0] / true[true > 0]),
        frequency_weighted_iou=float(np.nansum(iou * true) / pixels) if pixels else None,
        images=images,
        inference=inference,
        subsets=subsets,
        confusion=confusion.astype(np.int64).tolist(),
        annotated_images=annotated_images,
        scored_classes=int(np.sum(union > 0)),
        labelled_classes=int(np.sum(true > 0)),
    )


def _mean(values: np.ndarray) -> float | None:
    """Returns the mean of the values that are not NaN; None without any."""
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if len(known) else None


def scope(result: Mapping) -> str:
    """Returns what a score is of, in words: "mean over 18 of 19 classes, 6 of 7 frames have annotated pixels".

    Args:
      result: as `SegmentationScores.to_json` returns it; those of old versions lack some entries.
    """
    scored = sum(value is not None for value in result.get("iou", {}).values())
    annotated, images = result.get("annotated_images"), result.get("images")
    frames = f", {annotated} of {images} frames have annotated pixels" if annotated is not None else ""
    if result["miou"] is None:
        return f"not scored: no annotated pixel in {images} frames with a label"
    if is_of_one_class(result):
        frames = f" of which ONE is annotated: predicting it everywhere scores 100{frames}"
    over = f"mean over {scored} of {len(result['iou'])} classes" if scored else ""
    return (over + frames).removeprefix(", ")


def scopes(results: Mapping[str, Mapping]) -> list[str]:
    """Returns what the scores of several networks (name -> scores) are of: a line, or one each where they differ."""
    found = {name: text for name, one in results.items() if (text := scope(one))}
    if len(found) == len(results) and len({*found.values()}) == 1:
        return [f"mIoU: {next(iter(found.values()))}"]
    return [f"mIoU of {name}: {text}" for name, text in found.items()]


def is_of_one_class(result: Mapping) -> bool:
    """Whether all annotated pixels are of one class; arguments as `scope`. Unknown for old versions: then False."""
    return result["miou"] is not None and result.get("labelled_classes") == 1
