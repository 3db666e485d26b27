"""How well predicted ego-motion agrees with true poses, for video that has them."""

import dataclasses
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class EgoMotionScores:
    """Scores of the motion between neighbouring frames; its scale is unknown.

    Attributes:
      rotation_error: median over pairs of the angle between predicted and true rotation, degrees.
      rotation: median of the true angle, degrees: what predicting no rotation would be off by.
      direction_error: median of the angle between predicted and true direction of travel, degrees (90 for random
        directions); pairs in which the camera moves less than a centimetre do not count.
      scale_spread: standard deviation of predicted / true distance, divided by its mean: 0 for a constant scale.
      pairs: how many pairs of frames.
    """

    rotation_error: float
    rotation: float
    direction_error: float
    scale_spread: float
    pairs: int

    def to_json(self) -> dict:
        """Plain dict."""
        return dataclasses.asdict(self)


def _angle(rotation: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def relative_transform(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Target camera -> source camera [4, 4], from two poses (camera to world, [4, 4])."""
    return np.linalg.inv(source) @ target


def ego_motion_scores(pairs: Iterable[tuple[np.ndarray, np.ndarray]], least_motion: float = 0.01) -> EgoMotionScores:
    """Scores of (predicted, true) transforms between neighbouring frames, each [4, 4].

    Args:
      least_motion: metres of true motion for a pair's direction and scale to count.

    Raises:
      ValueError: there is no pair in which the camera moves.
    """
    rotation_errors, rotations, directions, scales = [], [], [], []
    for predicted, true in pairs:
        rotation_errors.append(_angle(predicted[:3, :3].T @ true[:3, :3]))
        rotations.append(_angle(true[:3, :3]))
        lengths = [np.linalg.norm(transform[:3, 3]) for transform in (predicted, true)]
        if lengths[1] > least_motion:
            cosine = predicted[:3, 3] @ true[:3, 3] / max(lengths[0] * lengths[1], 1e-12)
            directions.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
            scales.append(lengths[0] / lengths[1])
    if not scales:
        raise ValueError("there is no pair of frames between which the camera moves")
    return EgoMotionScores(
        float(np.median(rotation_errors)),
        float(np.median(rotations)),
        float(np.median(directions)),
        float(np.std(scales) / max(np.mean(scales), 1e-12)),
        len(rotation_errors),
    )
