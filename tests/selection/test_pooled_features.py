"""Pooled features, their statistics, their principal components."""

import numpy as np
import pytest

from sdeseg_jax.selection.pooled_features import ChannelStatistics, pool_features, principal_components


@pytest.mark.parametrize("height, width", [(4, 8), (12, 24), (13, 30), (6, 9)])
def test_pooling_averages_cells_that_may_overlap(height, width):
    features = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    pooled = np.asarray(pool_features(features, (4, 8)))
    assert pooled.shape == (2, 4, 8, 3) and pooled.dtype == np.float32
    for y in range(4):
        for x in range(8):
            cell = features[:, y * height // 4 : -(-(y + 1) * height // 4), x * width // 8 : -(-(x + 1) * width // 8)]
            np.testing.assert_allclose(pooled[:, y, x], cell.mean((1, 2)), atol=1e-6)


def test_statistics_do_not_depend_on_batches():
    features = np.random.default_rng(0).normal(3, [1, 5, 0.1], size=(50, 4, 8, 3)).astype(np.float32)
    statistics = ChannelStatistics()
    for part in (features[:7], features[7:8], features[8:]):
        statistics.add(part)
    rows = features.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.deviation, rows.std(0, ddof=1), rtol=1e-9)
    normalized = statistics.normalize(features)
    np.testing.assert_allclose(normalized.std((0, 1, 2), ddof=1), 1, rtol=1e-5)
    assert normalized.dtype == np.float32


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_constant_channel_is_no_feature(value):
    features = np.random.default_rng(0).normal(size=(30, 4, 8, 2)).astype(np.float32)
    features[..., 1] = value
    statistics = ChannelStatistics()
    statistics.add(features[:10])
    statistics.add(features[10:])
    normalized = statistics.normalize(features)
    np.testing.assert_array_equal(normalized[..., 1], 0)
    assert np.abs(normalized[..., 0]).max() > 1


def test_principal_components_are_those_of_the_singular_value_decomposition():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(70, 5)) * [9, 4, 1, 1, 1] @ rng.normal(size=(5, 40)) + 3).astype(np.float32)
    points = principal_components(features, 2, seed=0, chunk=32)
    u, s, _ = np.linalg.svd(features - features.mean(0), full_matrices=False)
    for i in range(2):
        expected = u[:, i] * s[i]
        error = min(np.abs(points[:, i] - expected).max(), np.abs(points[:, i] + expected).max())
        assert error < 1e-3 * np.abs(expected).max()


def test_principal_components_of_equal_frames_are_zero():
    np.testing.assert_array_equal(principal_components(np.ones((6, 8), np.float16), 2, seed=0), np.zeros((6, 2)))
