"""Source images mixed into target images, sorted by their geometric difference (Fig. 6 of the paper)."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from sdeseg_jax.adaptation import cross_domain_mask, cross_domain_mix, geometric_difference, log_disparity
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.drawing.disparity_and_error_colors import CONFIDENCE, Picture, black_and_white, colorize, photo
from sdeseg_jax.drawing.label_overlays import colorize_labels
from sdeseg_jax.mixing import quality
from sdeseg_jax.report.panels import disparity_picture


@dataclasses.dataclass(frozen=True)
class Target:
    """A target frame that source frames are mixed into.

    Attributes:
      annotated: whether its label is an annotation.
      image: [H, W, 3] in [0, 1].
      label, confidence: annotation or pseudo-label, [H, W] each.
      disparity: normalised to [0, 1], [H, W].
    """

    id: str
    annotated: bool
    image: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    disparity: np.ndarray


@dataclasses.dataclass(frozen=True)
class CrossDomainMix:
    """A source frame and its mix with a target frame.

    Attributes:
      id, image, disparity: of the source.
      difference: geometric difference G (Eq. 22).
      mask: bool [H, W], true where the mix shows the source.
      mixed_image, mixed_label: [H, W, 3] and [H, W].
      quality: q' of the mix.
    """

    id: str
    image: np.ndarray
    disparity: np.ndarray
    difference: float
    mask: np.ndarray
    mixed_image: np.ndarray
    mixed_label: np.ndarray
    quality: float


def mix_candidates(
    target: Target,
    ids: Sequence[str],
    source: Mapping[str, np.ndarray],
    kind: str,
    margin: float,
    threshold: float,
    classes: int,
    seed: int,
) -> list[CrossDomainMix]:
    """Mixes every candidate with a target frame, as training does; the nearest in geometry comes first.

    Args:
      ids: of the candidates [N].
      source: `image` [N, H, W, 3] in [0, 1], `label` [N, H, W], `disparity` [N, H, W] normalised to [0, 1].
      kind, margin, classes: see `adaptation.cross_domain_mask`.
      threshold: of the confidence (Eq. 14).
      seed: of the random draws: the sign of the margin, classes or rectangles.
    """
    found = geometric_difference(log_disparity(target.disparity), log_disparity(source["disparity"]))
    order = np.argsort(found, kind="stable")
    keys = jax.random.split(jax.random.key(seed), len(ids))
    maps = (source["disparity"][..., None], np.broadcast_to(target.disparity[..., None], (*source["label"].shape, 1)))
    masks = np.asarray(cross_domain_mask(kind, keys, source["label"], *maps, classes, margin))
    mixes = []
    for i in order:
        own, other = (source["image"][i], source["label"][i]), (target.image, target.label, target.confidence)
        image, label, confidence = cross_domain_mix(masks[i], own, other)
        mixes.append(
            CrossDomainMix(
                id=ids[i],
                image=source["image"][i],
                disparity=source["disparity"][i],
                difference=float(found[i]),
                mask=masks[i],
                mixed_image=np.asarray(image),
                mixed_label=np.asarray(label),
                quality=float(quality(confidence, threshold)),
            )
        )
    return mixes


def cross_domain_rows(target: Target, mixes: Sequence[CrossDomainMix], classes: ClassMap) -> list[list[Picture]]:
    """Returns a row for the target, then one per candidate: image, disparity, paste mask, mixed image, mixed label."""
    kind = "annotated" if target.annotated else "pseudo-label"
    rows = [
        [
            Picture(photo(target.image), f"target: {target.id}"),
            disparity_picture(target.disparity, "its disparity"),
            Picture(colorize(target.confidence, 0, 1, CONFIDENCE), "confidence of its label"),
            Picture(colorize_labels(target.label, classes.colors), f"its label ({kind})", smooth=False),
        ]
    ]
    for place, mix in enumerate(mixes):
        nearest = ", the nearest: taken" if place == 0 and len(mixes) > 1 else ""
        label, share = colorize_labels(mix.mixed_label, classes.colors), 100 * np.mean(mix.mask)
        rows.append(
            [
                Picture(photo(mix.image), f"source: {mix.id}"),
                disparity_picture(mix.disparity, f"its disparity, G = {mix.difference:.4f}{nearest}"),
                Picture(black_and_white(mix.mask), f"paste mask: white shows the source ({share:.0f} %)", smooth=False),
                Picture(photo(mix.mixed_image), "mixed image"),
                Picture(label, f"mixed label (q' = {mix.quality:.2f})", smooth=False),
            ]
        )
    return rows
