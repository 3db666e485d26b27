"""`select_frames`: the frames that the job chooses from the same features, and what is refused."""

import numpy as np
import pytest

from sdeseg_jax.jobs.selecting.farthest_point_multi_device import Coverage
from sdeseg_jax.selection import pick_priority, select_frames

FEATURES = np.random.default_rng(0).normal(size=(41, 7)).astype(np.float16)
ERRORS = np.random.default_rng(1).uniform(size=41)


@pytest.mark.parametrize("errors", [None, ERRORS])
@pytest.mark.parametrize("existing", [(), (3, 20, 3)])
def test_frames_are_those_of_the_job(errors, existing):
    coverage = Coverage(FEATURES, pick_priority(41, 5), np.ones(41, bool))
    coverage.annotate(np.array(existing, np.int32))
    expected = coverage.choose(6, None if errors is None else 1000.0 * errors).index
    found = select_frames(FEATURES, 6, errors, existing, seed=5)
    np.testing.assert_array_equal(found, expected)
    assert not {*existing} & {*found.tolist()} and len({*found.tolist()}) == 6


def test_each_frame_is_the_farthest_from_all_before():
    chosen = [4]
    found = select_frames(FEATURES.astype(np.float64), 10, existing=chosen)
    for index in found.tolist():
        distances = np.linalg.norm(FEATURES.astype(np.float64)[:, None] - FEATURES[chosen], axis=-1).min(axis=1)
        assert distances[index] == pytest.approx(distances.max(), rel=1e-6)
        chosen.append(index)


def test_all_frames_or_none_can_be_chosen():
    assert sorted(select_frames(FEATURES, 41).tolist()) == list(range(41))
    assert select_frames(FEATURES, 0).shape == (0,)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"count": 42}, "count = 42, but there are only 41 frames$"),
        ({"count": 40, "existing": [1, 2]}, "only 41 frames, 2 of them annotated"),
        ({"count": -1}, "count = -1"),
        ({"existing": [41]}, "indices of the 41 frames, 0 to 40"),
        ({"existing": [-1]}, "0 to 40"),
        ({"errors": ERRORS[:5]}, r"one value per frame, \[41\], not \(5,\)"),
        ({"errors": np.where(ERRORS > 0.5, np.nan, 0)}, "errors have values that are not finite"),
        ({"features": np.full((41, 2), np.inf)}, "features have values that are not finite"),
        ({"features": FEATURES[0]}, r"\[frames, dimensions\], not float16 \(7,\)"),
        ({"features": np.zeros((41, 2), int)}, "floating point"),
    ],
)
def test_wrong_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        select_frames(**{"features": FEATURES, "count": 3} | changes)
