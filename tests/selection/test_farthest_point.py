"""Greedy selection against the release's numbers, brute force, and properties that hold for any features."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.jobs.selecting.farthest_point_multi_device import Coverage
from sdeseg_jax.selection.farthest_point import farthest_points, update_nearest
from sdeseg_jax.selection.pooled_features import ChannelStatistics


def no_coverage(frames):
    return jnp.full(frames, jnp.inf, jnp.float32)


@functools.partial(jax.jit, static_argnames="count")
def choose(features, initial, term, priority, count):
    """Returns the picks after `initial`, and the distances after them, on one device."""
    nearest = update_nearest(features, no_coverage(len(features)), initial)
    return farthest_points(features, nearest, term, priority, count)


def by_brute_force(features, initial, term, priority, count):
    """All distances between pairs, and a plain loop."""
    distance = np.sqrt(((features[:, None] - features[None]) ** 2).sum(-1))
    chosen, criteria = list(initial), []
    for _ in range(count):
        nearest = distance[chosen].min(0) if chosen else np.full(len(features), np.inf)
        criterion = np.where(np.isin(np.arange(len(features)), chosen), -np.inf, nearest + term)
        best = max(range(len(features)), key=lambda i: (criterion[i], priority[i]))
        criteria.append(criterion[best])
        chosen.append(best)
    return chosen[len(initial) :], criteria


def random_case(seed, frames=60, dimensions=12):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(frames, dimensions)).astype(np.float32)
    return features, rng.uniform(0, 2, frames).astype(np.float32), rng.permutation(frames).astype(np.int32)


@pytest.fixture
def reference(golden):
    """Golden numbers with features as in the selection: normalised, one row per frame."""
    numbers, statistics = golden("selection"), ChannelStatistics()
    for part in np.array_split(numbers["features"], 7):
        statistics.add(part)
    return numbers | {"features": statistics.normalize(numbers["features"]).reshape(300, -1)}


def test_distances_of_the_release(reference):
    features = reference["features"]
    for row, expected in enumerate(reference["distance_matrix_first_rows"]):
        nearest = np.asarray(update_nearest(features, no_coverage(300), np.array([row])))
        assert nearest[row] == -np.inf
        others = np.arange(300) != row
        # The release computes norms minus products, whose small distances are off by this much.
        np.testing.assert_allclose(nearest[others], expected[others], rtol=1e-4)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_diversity_of_the_release(reference, kind):
    """Same order, same distances (Eq. 2); float16, in which features are stored, changes no pick."""
    arguments = (reference["diversity_initial"], np.zeros(300, np.float32), np.arange(300, dtype=np.int32))
    picks, _ = choose(reference["features"].astype(kind), *arguments, 24)
    np.testing.assert_array_equal(picks.index, reference["diversity_order"])
    np.testing.assert_allclose(
        picks.distance, reference["diversity_distance"], rtol=1e-5 if kind == np.float32 else 1e-4
    )
    np.testing.assert_array_equal(picks.criterion, picks.distance)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_diversity_and_uncertainty_of_the_release(reference, kind):
    """Eq. 4 with lambda_E = 1000."""
    term = reference["lambda_E"] * reference["student_error"]
    picks, _ = choose(
        reference["features"].astype(kind), reference["combined_initial"], term, np.arange(300, dtype=np.int32), 25
    )
    np.testing.assert_array_equal(picks.index, reference["combined_order"])
    np.testing.assert_allclose(
        picks.criterion, reference["combined_criterion"], rtol=1e-5 if kind == np.float32 else 1e-4
    )
    np.testing.assert_allclose(picks.criterion, picks.distance + term[picks.index], rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("initial", [(), (3,), (5, 40, 17)])
def test_greedy_is_brute_force(seed, initial):
    features, term, priority = random_case(seed)
    picks, _ = choose(features, np.array(initial, np.int32), term, priority, 20)
    order, criteria = by_brute_force(features, initial, term, priority, 20)
    assert list(picks.index) == order
    np.testing.assert_allclose(picks.criterion, criteria, rtol=1e-5)
    assert np.isinf(picks.distance[0]) == (not initial)


def test_more_picks_never_lower_the_coverage():
    features, _, priority = random_case(0)
    zero, radii = np.zeros(len(features), np.float32), []
    for count in (1, 5, 20, 50):
        picks, nearest = choose(features, np.zeros(0, np.int32), zero, priority, count)
        assert len(set(np.asarray(picks.index))) == count
        radii.append(float(nearest.max()))
        distance = np.linalg.norm(features[:, None] - features[np.asarray(picks.index)], axis=-1).min(1)
        assert radii[-1] == pytest.approx(distance.max(), rel=1e-5)
    assert radii == sorted(radii, reverse=True)


def test_permuted_frames_give_permuted_picks_even_where_they_are_equal():
    features, term, priority = random_case(1)
    features[20:40], term[20:40] = features[:20], term[:20]  # twins
    order = np.random.default_rng(2).permutation(len(features))
    one, _ = choose(features, np.zeros(0, np.int32), term, priority, 45)
    other, _ = choose(features[order], np.zeros(0, np.int32), term[order], priority[order], 45)
    np.testing.assert_array_equal(order[other.index], one.index)
    np.testing.assert_array_equal(other.tied, one.tied)
    assert max(one.tied[1:]) > 1


def test_constant_features_are_chosen_by_priority_and_counted():
    priority = np.random.default_rng(0).permutation(9).astype(np.int32)
    picks, _ = choose(np.ones((9, 4), np.float32), np.zeros(0, np.int32), np.zeros(9, np.float32), priority, 9)
    np.testing.assert_array_equal(picks.index, np.argsort(-priority))
    np.testing.assert_array_equal(picks.tied, np.arange(9, 0, -1))
    np.testing.assert_array_equal(picks.distance[1:], 0)


@pytest.mark.parametrize("frames", [61, 64])
def test_devices_share_the_work_and_not_the_result(frames):
    """Four devices, one of them with fewer frames, choose what one does."""
    assert jax.local_device_count() == 4
    features, term, priority = random_case(3, frames)
    candidates = np.arange(frames) % 7 > 0
    coverage = Coverage(features, priority, candidates)
    coverage.annotate(np.array([7, 8]))
    first, second = coverage.choose(11, term), coverage.choose(9, term)
    start = np.where(candidates, np.inf, -np.inf).astype(np.float32)
    nearest = update_nearest(features, start, np.array([7, 8]))
    picks, nearest = jax.jit(farthest_points, static_argnames="count")(features, nearest, term, priority, count=20)
    # Programs for other shapes may sum in a different order.
    for name, tolerance in (("index", 0), ("tied", 0), ("criterion", 1e-6), ("distance", 1e-6)):
        both = np.concatenate([getattr(first, name), getattr(second, name)])
        np.testing.assert_allclose(both, getattr(picks, name), rtol=tolerance, err_msg=name)
    np.testing.assert_allclose(coverage.nearest, nearest, rtol=1e-6)
    assert all(candidates[picks.index])


def test_no_distance_matrix_is_held():
    """Nor a second copy of the features."""
    frames, dimensions = 2048, 256
    kinds = [((frames, dimensions), np.float32), ((0,), np.int32), ((frames,), np.float32), ((frames,), np.int32)]
    shapes = [jax.ShapeDtypeStruct(*kind) for kind in kinds]
    memory = choose.lower(*shapes, count=500).compile().memory_analysis()
    assert memory.temp_size_in_bytes < frames * dimensions * 4 / 4  # N x N numbers would be 8 times the features


def test_distances_are_of_differences():
    """Norms minus products lose small distances between large features."""
    features = np.full((4, 1024), 300.0, np.float32)
    features[1, 0] += 0.25
    features[2, :2] += 0.5
    nearest = np.asarray(update_nearest(jnp.asarray(features), no_coverage(4), np.array([0])))
    np.testing.assert_allclose(nearest[1:], [0.25, np.sqrt(0.5), 0.0], rtol=1e-6)
