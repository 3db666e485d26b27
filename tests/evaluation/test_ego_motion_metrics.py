"""Ego-motion scores under scaling and small errors."""

import numpy as np
import pytest

from sdeseg_jax.data.streets import render_clip
from sdeseg_jax.evaluation.ego_motion_metrics import (
    ego_motion_scores,
    integrate_path,
    path_error,
    relative_transform,
    split_into_clips,
    straight_ahead,
    trajectory_scores,
)


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
    # When driving forward, points are nearer in the next frame.
    assert relative_transform(poses[0], poses[1])[2, 3] < 0


def ahead(count, step=1.0, sideways=0.0):
    """Transforms frame -> next of a camera that moves `step` ahead and `sideways` to the right each time."""
    return np.stack([transform(0, (-sideways, 0, -step))] * count)


def test_path_is_the_one_that_was_driven():
    poses = render_clip("train", 0, frames=7, height=8, width=16)["pose"]
    transforms = np.stack([relative_transform(one, other) for one, other in zip(poses, poses[1:], strict=False)])
    driven = [np.linalg.inv(poses[0]) @ pose for pose in poses]
    np.testing.assert_allclose(integrate_path(transforms), [pose[:3, 3] for pose in driven], atol=1e-9)


def test_clips_are_split_where_a_frame_is_left_out():
    poses = [transform(3 * i, (0.1 * i, 0, i)) for i in range(12)]
    frames = np.array([1, 2, 3, 6, 7])  # of the clips 0..4 and 5..8
    both = np.stack([[relative_transform(poses[i], poses[i + step]) for step in (-1, 1)] for i in frames])
    first, second = split_into_clips(frames, both)
    for clip, members in ((first, range(5)), (second, range(5, 9))):
        expected = [relative_transform(poses[i], poses[i + 1]) for i in members[:-1]]
        np.testing.assert_allclose(clip, expected, atol=1e-9)


def test_perfect_integrate_path_another_scale_has_no_error():
    true = np.stack([transform(d, (0.1, 0, -1 - d)) for d in (0.5, 1, 2, -1, 0, 3)])
    predicted = true.copy()
    predicted[:, :3, 3] *= 0.03
    scores = trajectory_scores([(predicted, true)])
    assert scores.snippet_error < 1e-9 and scores.clip_error < 1e-9 and scores.clip_percent < 1e-9
    assert scores.snippets == 3 and scores.clips == 1


def test_error_of_a_path_that_is_off_by_45_degrees():
    # Positions k (1, 0, 1) for k (0, 0, 1): half the length fits best, and leaves k (0.5, 0, -0.5).
    scores = trajectory_scores([(ahead(4, 1, sideways=1), ahead(4)), (ahead(8, 1, sideways=1), ahead(8))])
    of_five, of_nine = np.sqrt(0.5 * np.mean(np.arange(5) ** 2)), np.sqrt(0.5 * np.mean(np.arange(9) ** 2))
    assert scores.snippet_error == pytest.approx(of_five) and scores.snippet_deviation == pytest.approx(0, abs=1e-9)
    assert scores.snippets == 1 + 5 and scores.clips == 2
    assert scores.clip_error == pytest.approx((of_five + of_nine) / 2)
    assert scores.clip_percent == pytest.approx(100 * (of_five / 4 + of_nine / 8) / 2)


def test_changing_scale_is_an_error_of_the_whole_path_alone():
    predicted = np.concatenate([ahead(4, 1), ahead(4, 3)])
    scores = trajectory_scores([(predicted, ahead(8))])
    assert scores.snippets == 5 and 0 < scores.snippet_error < scores.clip_error
    assert trajectory_scores([(predicted[:4], ahead(4))]).snippet_error < 1e-9


def test_no_scale_makes_up_for_standing_or_for_the_way_back():
    true = integrate_path(ahead(4))
    of_standing = np.sqrt(np.mean(np.arange(5) ** 2))
    assert path_error(np.zeros((5, 3)), true) == pytest.approx(of_standing)
    assert path_error(-true, true) == pytest.approx(of_standing)


def test_clips_that_stand_or_are_too_short_do_not_count():
    stands, moves = np.stack([np.eye(4)] * 6), ahead(4)
    assert trajectory_scores([(moves[:3], moves[:3]), (stands, stands)]) is None
    scores = trajectory_scores([(moves, moves), (stands, stands), (moves[:3], moves[:3])])
    assert scores.snippets == 1 and scores.clips == 1 and scores.clip_error < 1e-9


def test_straight_ahead_is_right_where_the_car_drives_so():
    assert trajectory_scores([(straight_ahead(6), ahead(6, 0.7))]).clip_error < 1e-9
    turning = np.stack([transform(5, (0, 0, -1))] * 6)
    assert trajectory_scores([(straight_ahead(6), turning)]).clip_percent > 5
