"""Panels: depth and ground truth, DepthMix (Fig. 8 of the paper), predictions (Fig. 9)."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from sdeseg_jax.data.classes import VOID, ClassMap
from sdeseg_jax.drawing.disparity_and_error_colors import CONFIDENCE, ERROR, Picture, black_and_white, colorize, photo
from sdeseg_jax.drawing.label_overlays import colorize_labels
from sdeseg_jax.evaluation.depth_metrics import MIN_DEPTH, depth_errors, known_depth
from sdeseg_jax.mixing import depthmix_mask, mix, normalize_disparity, quality, with_ground_truth

MAX_ERROR = 0.5
"""Absolute relative error at the end of the colour scale."""


def disparity_picture(disparity: np.ndarray, caption: str) -> Picture:
    """Colours a disparity map [H, W] over its own range; bright is near."""
    return Picture(colorize(disparity, float(np.min(disparity)), float(np.max(disparity))), caption)


def nearest_depth(truths: np.ndarray, cap: float) -> float:
    """Returns the depth of the brightest colour, metres: 98 % of the known pixels are farther."""
    known = known_depth(truths, cap)
    return float(np.percentile(truths[known], 2)) if known.any() else 1.0


def depth_rows(
    ids: Sequence[str], images: np.ndarray, predictions: np.ndarray, truths: np.ndarray, cap: float
) -> list[list[Picture]]:
    """Returns a row per frame: image, predicted and true inverse depth on one colour scale, error.

    Args:
      ids: of the frames.
      images: [N, H, W, 3] in [0, 1].
      predictions: depth up to scale, [N, H, W]; scaled by the ratio of medians, as for the scores.
      truths: metres, [N, H, W], inf in the sky.
      cap: metres, at which depth is clipped.
    """
    brightest = 1 / nearest_depth(truths, cap)
    rows = []
    for name, image, prediction, truth in zip(ids, images, predictions, truths, strict=True):
        known = known_depth(truth, cap)
        scored = depth_errors(prediction, truth, cap)
        scale = scored[1] if scored else 1.0
        scaled = np.clip(prediction * scale, MIN_DEPTH, cap)
        shown_truth, has_truth = np.clip(truth, MIN_DEPTH, cap), known_depth(truth, np.inf)
        error = np.abs(scaled - truth) / np.where(known, truth, 1.0)
        summary = f"absolute relative error, mean {scored[0][0]:.3f}" if scored else "no pixel with known depth"
        rows.append(
            [
                Picture(photo(image), name),
                Picture(colorize(1 / scaled, 0, brightest), f"predicted (× {scale:.3g})"),
                Picture(colorize(1 / shown_truth, 0, brightest, known=has_truth), "truth"),
                Picture(colorize(error, 0, MAX_ERROR, ERROR, known), summary),
            ]
        )
    return rows


def disparity_rows(ids: Sequence[str], images: np.ndarray, disparities: np.ndarray) -> list[list[Picture]]:
    """Returns rows of two frames each, image and disparity [N, H, W], for datasets without true depth."""
    pictures = []
    for name, image, disparity in zip(ids, images, disparities, strict=True):
        pictures += [Picture(photo(image), name), disparity_picture(disparity, "predicted disparity")]
    return [pictures[i : i + 4] for i in range(0, len(pictures), 4)]


def reprojection_rows(
    ids: Sequence[str], images: np.ndarray, disparities: np.ndarray, warped: np.ndarray, identity: np.ndarray
) -> list[list[Picture]]:
    """Returns a row per video frame: image, disparity, photometric error with and without warping.

    Args:
      ids: of the frames.
      images: [N, H, W, 3] in [0, 1].
      disparities: [N, H, W].
      warped, identity: error of the better neighbour per pixel, warped and unwarped, [N, H, W]; both are shown on one
        scale up to the 98th percentile of the unwarped errors.
    """
    worst = float(np.percentile(identity, 98))
    return [
        [
            Picture(photo(image), name),
            disparity_picture(disparity, "disparity, bright is near"),
            Picture(colorize(with_warping, 0, worst, ERROR), f"error with warping, mean {np.mean(with_warping):.3f}"),
            Picture(colorize(without, 0, worst, ERROR), f"error without, mean {np.mean(without):.3f}"),
        ]
        for name, image, disparity, with_warping, without in zip(
            ids, images, disparities, warped, identity, strict=True
        )
    ]


@dataclasses.dataclass(frozen=True)
class MixedPair:
    """A pair of frames and its DepthMix.

    Attributes:
      annotated: whether the label of each frame is an annotation.
      images: [2, H, W, 3] in [0, 1].
      disparities: [2, H, W], as the mask compares them.
      mask: bool [H, W], true where the mix shows the first frame.
      image: mixed, [H, W, 3].
      label: mixed, [H, W].
      confidence: mixed, [H, W] in [0, 1].
      quality: q', share of pixels above the confidence threshold.
    """

    ids: tuple[str, str]
    annotated: tuple[bool, bool]
    images: np.ndarray
    disparities: np.ndarray
    mask: np.ndarray
    image: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    quality: float


def mix_pairs(
    ids: Sequence[str],
    annotated: np.ndarray,
    images: np.ndarray,
    teacher: tuple[np.ndarray, np.ndarray],
    annotations: np.ndarray,
    disparities: np.ndarray,
    margin: float,
    threshold: float,
) -> list[MixedPair]:
    """Mixes every second frame with the one after it, as training does with a batch.

    Args:
      ids: of the frames, an even number N.
      annotated: bool [N].
      images: [N, H, W, 3] in [0, 1].
      teacher: pseudo-labels and their confidence, [N, H, W] each.
      annotations: train ids [N, H, W], read only where `annotated`.
      disparities: [N, H, W, 1], in any unit.
      margin: of the mask (Eq. 8).
      threshold: of the confidence (Eq. 14).
    """
    labels, confidence = with_ground_truth(*teacher, annotated, annotations.astype(np.int32))
    disparities = normalize_disparity(disparities)
    pairs = []
    for i in range(0, len(ids), 2):
        mask = depthmix_mask(disparities[i], disparities[i + 1], margin)
        image, label, mixed_confidence = (mix(mask, x[i], x[i + 1]) for x in (images, labels, confidence))
        pairs.append(
            MixedPair(
                ids=(ids[i], ids[i + 1]),
                annotated=(bool(annotated[i]), bool(annotated[i + 1])),
                images=images[i : i + 2],
                disparities=np.asarray(disparities[i : i + 2, ..., 0]),
                mask=np.asarray(mask),
                image=np.asarray(image),
                label=np.asarray(label),
                confidence=np.asarray(mixed_confidence),
                quality=float(quality(mixed_confidence, threshold)),
            )
        )
    return pairs


def depthmix_rows(pair: MixedPair, classes: ClassMap) -> list[list[Picture]]:
    """Returns two rows: the frames with their disparities on the left, the mix on the right."""
    names = [
        f"{letter}: {name} ({'annotated' if annotated else 'no annotation'})"
        for letter, name, annotated in zip("AB", pair.ids, pair.annotated, strict=True)
    ]
    share = 100 * float(np.mean(pair.mask))
    return [
        [
            Picture(photo(pair.images[0]), names[0]),
            disparity_picture(pair.disparities[0], "disparity of A"),
            Picture(black_and_white(pair.mask), f"mask: white shows A ({share:.0f} %), black B", smooth=False),
            Picture(photo(pair.image), "mixed image"),
        ],
        [
            Picture(photo(pair.images[1]), names[1]),
            disparity_picture(pair.disparities[1], "disparity of B"),
            Picture(colorize(pair.confidence, 0, 1, CONFIDENCE), f"confidence of the label (q' = {pair.quality:.2f})"),
            Picture(colorize_labels(pair.label, classes.colors), "mixed label", smooth=False),
        ],
    ]


def prediction_rows(
    ids: Sequence[str], images: np.ndarray, labels: np.ndarray, predictions: Mapping[str, np.ndarray], classes: ClassMap
) -> list[list[Picture]]:
    """Returns a row per frame: image, ground truth, each network's prediction.

    Args:
      ids: of the frames.
      images: [N, H, W, 3] in [0, 1].
      labels: ground truth, train ids [N, H, W], 255 void.
      predictions: name -> train ids [N, H, W].
    """
    rows = []
    for i, name in enumerate(ids):
        row = [
            Picture(photo(images[i]), name),
            Picture(colorize_labels(labels[i], classes.colors), "truth", smooth=False),
        ]
        valid = labels[i] != VOID
        for network, predicted in predictions.items():
            caption = network
            if valid.any():
                caption += f", {100 * np.mean(predicted[i][valid] == labels[i][valid]):.0f} % of pixels"
            row.append(Picture(colorize_labels(predicted[i], classes.colors), caption, smooth=False))
        rows.append(row)
    return rows
