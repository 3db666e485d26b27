"""Supervised depth loss: values by hand, holes, scales, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.depth.camera import disparity_to_depth
from sdeseg_jax.depth.supervised_loss import supervised_depth_loss
from sdeseg_jax.training.replication import AXIS


def disparity_of(depth, low=0.1, high=100.0):
    """Inverse of `disparity_to_depth`."""
    return (1 / depth - 1 / high) / (1 / low - 1 / high)


@pytest.fixture
def depth():
    return np.random.default_rng(0).uniform(2, 80, (4, 8, 16, 1)).astype(np.float32)


def test_true_depth_costs_nothing_and_a_wrong_scale_its_logarithm(depth):
    np.testing.assert_allclose(supervised_depth_loss([disparity_of(depth)], depth), 0, atol=2e-5)
    np.testing.assert_allclose(supervised_depth_loss([disparity_of(depth * 1.2)], depth), np.log(1.2), rtol=1e-4)


@pytest.mark.parametrize("unknown", [0.0, np.inf, np.nan, -1.0, 150.0])
def test_unknown_pixels_count_neither_in_value_nor_in_gradient(depth, unknown):
    holes = np.random.default_rng(1).random(depth.shape) < 0.7
    disparity = jnp.asarray(disparity_of(np.where(holes, 5.0, depth * 1.3)))
    truth = np.where(holes, unknown, depth).astype(np.float32)
    value, gradient = jax.value_and_grad(lambda d: supervised_depth_loss([d], truth))(disparity)
    np.testing.assert_allclose(value, np.log(1.3), rtol=1e-4)
    assert np.all(np.isfinite(gradient)) and np.all(gradient[holes] == 0) and np.all(gradient[~holes] != 0)


def test_no_known_depth_at_all(depth):
    value, gradient = jax.value_and_grad(lambda d: supervised_depth_loss([d], np.full_like(depth, np.inf)))(depth / 100)
    assert value == 0 and not np.any(gradient)


def test_mean_over_scales(depth):
    constant = np.full((1, 8, 16, 1), 10.0, np.float32)
    scales = [disparity_of(np.full((1, 8 >> s, 16 >> s, 1), 10.0 * factor)) for s, factor in enumerate((1, 2, 4))]
    expected = np.mean([0, np.log(2), np.log(4)])
    np.testing.assert_allclose(supervised_depth_loss(scales, constant), expected, rtol=1e-3)
    assert disparity_to_depth(scales[1], 0.1, 100.0).mean() == pytest.approx(20, rel=1e-4)


def test_holes_spread_unevenly_over_devices_change_nothing(depth):
    truth = depth.copy()
    truth[0, :6] = np.inf
    disparity = disparity_of(depth * np.linspace(1, 2, 4, dtype=np.float32)[:, None, None, None])
    whole = supervised_depth_loss([disparity], truth)
    mapped = jax.pmap(lambda d, t: jax.lax.pmean(supervised_depth_loss([d], t, axis_name=AXIS), AXIS), axis_name=AXIS)
    np.testing.assert_allclose(mapped(disparity[:, None], truth[:, None])[0], whole, rtol=1e-5)
