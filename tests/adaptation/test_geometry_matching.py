"""Matching Geometry Sampling: the geometric difference against plain loops."""

import numpy as np
import pytest

from sdeseg_jax.adaptation import counted_rows, geometric_difference, log_disparity


def plain_difference(target, source):
    """Eq. 22, literally, for normalised disparity [H, W]."""
    height, width = target.shape
    total = count = 0
    for row in range(round(80 * height / 512), height - round(100 * height / 512)):
        for column in range(width):
            total += abs(np.log(1 + float(target[row, column])) - np.log(1 + float(source[row, column])))
            count += 1
    return total / count


@pytest.mark.parametrize("height", [32, 96, 128])
def test_difference_and_the_nearest_agree_with_plain_numpy(height):
    rng = np.random.default_rng(height)
    targets, candidates = rng.random((3, height, 20)), rng.random((3, 5, height, 20))
    found = geometric_difference(log_disparity(targets)[:, None], log_disparity(candidates))
    expected = np.array([[plain_difference(t, c) for c in five] for t, five in zip(targets, candidates, strict=True)])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(np.argmin(found, axis=1), np.argmin(expected, axis=1))


def test_rows_of_sky_and_own_car_do_not_count():
    assert counted_rows(512) == slice(80, 412) and counted_rows(1024) == slice(160, 824)
    assert counted_rows(96) == slice(15, 77)
    target = np.zeros((512, 4))
    source = np.ones((512, 4))
    source[80:412] = 0
    assert geometric_difference(target, source) == 0
    source[411] = 1
    assert geometric_difference(target, source) > 0


def test_difference_is_symmetric_and_zero_for_the_same_geometry():
    one, other = np.random.default_rng(0).random((2, 64, 32))
    assert geometric_difference(one, one) == 0
    assert geometric_difference(one, other) == geometric_difference(other, one) > 0
