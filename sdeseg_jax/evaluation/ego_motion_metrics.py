"""Errors of predicted ego-motion on video with true poses."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

SNIPPET = 5
"""Frames of the snippets in which trajectories are compared, as in the literature."""

LEAST_MOTION = 0.01
"""Metres that the camera must move for a direction, a scale or a path to count."""


@dataclasses.dataclass(frozen=True)
class EgoMotionScores:
    """Scores of the motion between neighbouring frames; its scale is unknown.

    Attributes:
      rotation_error: median over pairs of the angle between predicted and true rotation, degrees.
      rotation: median of the true angle, degrees: the error of predicting no rotation.
      direction_error: median of the angle between predicted and true direction of travel, degrees (90 for random
        directions), over pairs in which the camera moves at least a centimetre.
      scale_spread: standard deviation of predicted / true distance, divided by its mean: 0 for a constant scale.
      pairs: number of pairs of frames.
    """

    rotation_error: float
    rotation: float
    direction_error: float
    scale_spread: float
    pairs: int

    def to_json(self) -> dict:
        """Returns the scores as a plain dict."""
        return dataclasses.asdict(self)


def _angle(rotation: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def relative_transform(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Returns target camera -> source camera [4, 4] from two poses (camera to world, [4, 4])."""
    return np.linalg.inv(source) @ target


def ego_motion_scores(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], least_motion: float = LEAST_MOTION
) -> EgoMotionScores:
    """Returns the scores of (predicted, true) transforms between neighbouring frames, each [4, 4].

    Args:
      least_motion: metres of true motion above which a pair's direction and scale count.

    Raises:
      ValueError: the camera moves in no pair.
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
        raise ValueError("no pair of frames in which the camera moves")
    return EgoMotionScores(
        float(np.median(rotation_errors)),
        float(np.median(rotations)),
        float(np.median(directions)),
        float(np.std(scales) / max(np.mean(scales), 1e-12)),
        len(rotation_errors),
    )


@dataclasses.dataclass(frozen=True)
class TrajectoryScores:
    """Distance of the predicted path from the true one, after scaling it by one factor (see `path_error`).

    Attributes:
      snippet_error, snippet_deviation: mean and standard deviation, in metres, over all snippets of `SNIPPET` frames,
        each with its own scale. (The scripts of SfMLearner and Monodepth2 divide the root of the summed squares by the
        number of frames: their numbers for the same paths are smaller by the root of five.)
      snippets: their number.
      clip_error: mean over clips of the error of the whole path with one scale, metres.
      clip_percent: the same in percent of the path's length.
      clips: their number.
    """

    snippet_error: float
    snippet_deviation: float
    snippets: int
    clip_error: float
    clip_percent: float
    clips: int

    def to_json(self) -> dict:
        """Returns the scores as a plain dict."""
        return dataclasses.asdict(self)


def split_into_clips(frames: np.ndarray, transforms: np.ndarray) -> list[np.ndarray]:
    """Splits transforms between neighbours into clips.

    Args:
      frames: indices [F] of frames that have both neighbours, ascending; a gap ends a clip.
      transforms: [F, 2, 4, 4], target camera -> previous, next.

    Returns:
      For each clip of N + 1 frames, the transforms [N, 4, 4] from every frame to the next.
    """
    runs = np.split(transforms.astype(np.float64), np.flatnonzero(np.diff(frames) != 1) + 1)
    # A clip's first frame is never a target: its motion is the inverse of second -> previous.
    return [np.concatenate([np.linalg.inv(run[:1, 0]), run[:, 1]]) for run in runs]


def integrate_path(transforms: np.ndarray) -> np.ndarray:
    """Returns positions [N + 1, 3] in the first camera's coordinates, from transforms frame -> next, [N, 4, 4]."""
    pose, positions = np.eye(4), [np.zeros(3)]
    for transform in transforms:
        pose = pose @ np.linalg.inv(transform)
        positions.append(pose[:3, 3])
    return np.stack(positions)


def path_length(positions: np.ndarray) -> float:
    """Returns the length of a path through positions [N, 3], metres."""
    return float(np.sum(np.linalg.norm(np.diff(positions, axis=0), axis=-1)))


def path_error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Returns the absolute trajectory error: root mean square distance of positions [N, 3], predicted ones scaled.

    Both begin at the first camera's origin, which counts as one of the N. The scale fits best in least squares, but is
    not negative: that would make driving backward as good as driving forward.
    """
    scale = max(np.sum(predicted * true) / max(np.sum(predicted**2), 1e-12), 0.0)
    return float(np.sqrt(np.mean(np.sum((scale * predicted - true) ** 2, axis=-1))))


def trajectory_scores(clips: Sequence[tuple[np.ndarray, np.ndarray]]) -> TrajectoryScores | None:
    """Returns the scores of the (predicted, true) transforms of clips, [N, 4, 4] each, from every frame to the next.

    None if no clip has `SNIPPET` frames between which the camera moves. Clips and snippets in which it hardly moves do
    not count: with a scale of zero, any path would fit them.
    """
    snippet_errors, clip_errors, shares = [], [], []
    for predicted, true in clips:
        starts = range(len(true) - SNIPPET + 2)
        for part in (slice(start, start + SNIPPET - 1) for start in starts):
            snippet = integrate_path(true[part])
            if path_length(snippet) > LEAST_MOTION:
                snippet_errors.append(path_error(integrate_path(predicted[part]), snippet))
        whole = integrate_path(true)
        if len(starts) and path_length(whole) > LEAST_MOTION:
            clip_errors.append(path_error(integrate_path(predicted), whole))
            shares.append(clip_errors[-1] / path_length(whole))
    if not snippet_errors:
        return None
    return TrajectoryScores(
        float(np.mean(snippet_errors)),
        float(np.std(snippet_errors)),
        len(snippet_errors),
        float(np.mean(clip_errors)),
        100 * float(np.mean(shares)),
        len(clip_errors),
    )


def straight_ahead(count: int) -> np.ndarray:
    """Returns transforms [count, 4, 4] of driving straight ahead at constant speed: a guess that needs no images."""
    transform = np.eye(4)
    transform[2, 3] = -1  # what is ahead comes nearer
    return np.tile(transform, (count, 1, 1))
