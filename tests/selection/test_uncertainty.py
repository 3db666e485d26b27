"""Student error with its masks, entropy, and the highest scores."""

import numpy as np
import pytest

from sdeseg_jax.selection.uncertainty import (
    highest_scores,
    prediction_entropy,
    scored_pixels,
    student_error,
    upper_rows,
)


def disparities(seed, shape=(3, 30, 20, 1)):
    rng = np.random.default_rng(seed)
    return (0.1 + 0.8 * rng.random(shape)).astype(np.float32), rng.random(shape).astype(np.float32)


def by_loops(teacher, student):
    """Eq. 3 and its masks, pixel by pixel."""
    errors = []
    for t, s in zip(teacher[..., 0], student[..., 0], strict=True):
        total, (height, width) = 0.0, t.shape
        for y in range(height):
            for x in range(width):
                around = t[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4]
                if (around >= 0.07).all() and y < int(0.87 * height):
                    total += abs(np.log(1 + t[y, x]) - np.log(1 + s[y, x]))
        errors.append(total / t.size)
    return errors


def test_error_is_masked_near_the_far_and_at_the_bottom():
    teacher, student = disparities(0)
    teacher[0, 4, 5] = 0.01  # sky
    teacher[1, 20:, :] = 0.069
    teacher[2, 0, 19] = 0.0699
    np.testing.assert_allclose(student_error(teacher, student), by_loops(teacher, student), rtol=1e-5)
    mask = np.asarray(scored_pixels(teacher))
    assert not mask[0, 1:8, 2:9].any() and mask[0, 8, 5] and mask[0, 4, 9] and mask[0, 0, 5]
    assert not mask[:, 26:].any()


def test_a_perfect_student_has_no_error():
    teacher, _ = disparities(1)
    np.testing.assert_array_equal(student_error(teacher, teacher), 0)


def test_rows_at_the_bottom():
    assert upper_rows(32, 0.1).sum() == int(0.9 * 32) == 28  # as in the release's numbers, see test_golden
    assert upper_rows(512, 0.13).sum() == 445
    assert upper_rows(10, 0.0).all()


def test_entropy():
    logits = np.zeros((3, 2, 2, 5), np.float32)
    logits[1, ..., 2] = 100
    logits[2, 0, ..., 2] = 100  # half of the pixels
    np.testing.assert_allclose(prediction_entropy(logits), [np.log(5), 0, np.log(5) / 2], atol=1e-6)


def test_highest_scores_and_their_ties():
    scores = np.array([1.0, 3.0, 2.0, 3.0, -np.inf, 3.0])
    order, tied = highest_scores(scores, np.array([0, 1, 2, 5, 4, 3]), 4)
    assert list(order) == [3, 5, 1, 2] and list(tied) == [3, 3, 3, 1]


@pytest.mark.parametrize("seed", range(3))
def test_highest_is_the_same_for_permuted_frames(seed):
    rng = np.random.default_rng(seed)
    scores, priority, order = rng.integers(0, 4, 20).astype(float), rng.permutation(20), rng.permutation(20)
    one, other = highest_scores(scores, priority, 9)[0], highest_scores(scores[order], priority[order], 9)[0]
    np.testing.assert_array_equal(order[other], one)
