"""Ego-motion scores: what the scale and small errors do to them."""

import numpy as np
import pytest

from sdeseg_jax.data.streets import render_clip
from sdeseg_jax.evaluation.ego_motion import ego_motion_scores, relative_transform


def transform(degrees, translation):
    angle = np.radians(degrees)
    result = np.eye(4)
    result[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    result[:3, 3] = translation
    return result


def test_perfect_motion_of_another_scale():
    true = [transform(d, (0.1, 0, 1 + d)) for d in (0.5, 1, 2)]
    predicted = [one.copy() for one in true]
    for one in predicted:
        one[:3, 3] *= 0.03
    scores = ego_motion_scores(zip(predicted, true, strict=True))
    assert scores.rotation_error < 1e-4 and scores.direction_error < 1e-4 and scores.scale_spread < 1e-9
    assert scores.rotation == pytest.approx(1) and scores.pairs == 3


def test_errors_are_angles():
    pairs = [(transform(3, (0, 0, 1)), transform(1, (1, 0, 1))), (transform(-1, (0, 0, 3)), transform(1, (0, 1, 1)))]
    scores = ego_motion_scores(pairs)
    assert scores.rotation_error == pytest.approx(2) and scores.direction_error == pytest.approx(45)
    ratios = np.array([1, 3]) / np.sqrt(2)
    assert scores.scale_spread == pytest.approx(np.std(ratios) / np.mean(ratios))


def test_standing_pairs_have_no_direction():
    moving, standing = transform(0, (0, 0, 1)), transform(0, (0, 0, 0.001))
    assert ego_motion_scores([(moving, moving), (transform(0, (1, 0, 0)), standing)]).direction_error < 1e-4
    with pytest.raises(ValueError, match="moves"):
        ego_motion_scores([(moving, standing)])


def test_relative_transform_takes_points_of_the_target_to_the_source():
    poses = render_clip("train", 0, frames=2, height=8, width=16)["pose"]
    point = np.array([0.3, -0.2, 5.0, 1.0])
    world = poses[0] @ point
    np.testing.assert_allclose(poses[1] @ relative_transform(poses[0], poses[1]) @ point, world, atol=1e-9)
    # Driving forward, what the target sees lies nearer in the next frame.
    assert relative_transform(poses[0], poses[1])[2, 3] < 0
