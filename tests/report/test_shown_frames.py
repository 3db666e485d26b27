import numpy as np

from sdeseg_jax.report.shown_frames import pair_frames, spread_frames


def _has_previous(*lengths):
    return np.concatenate([np.arange(length) > 0 for length in lengths])


def test_spread_frames_takes_the_middle_of_distant_clips():
    np.testing.assert_array_equal(spread_frames(_has_previous(*[6] * 8), 4), [8, 20, 32, 44])
    np.testing.assert_array_equal(spread_frames(_has_previous(1, 1, 1, 1), 4), [0, 1, 2, 3])


def test_spread_frames_with_few_clips_or_frames():
    np.testing.assert_array_equal(spread_frames(_has_previous(8, 4), 4), [1, 4, 7, 10])
    np.testing.assert_array_equal(spread_frames(_has_previous(2), 4), [0, 1])


def test_pair_frames_begins_with_an_annotated_one():
    frames = pair_frames(np.arange(100), np.array([40, 70]), 3)
    assert frames[0] == 40 and len(frames) == 6 == len(set(frames))
    assert not np.isin(frames[1:], (40, 70)).any()


def test_pair_frames_of_small_pools():
    np.testing.assert_array_equal(pair_frames(np.arange(4), np.arange(4), 3), [0, 1, 2, 3])
    np.testing.assert_array_equal(pair_frames(np.arange(3), np.array([1]), 3), [1, 0])


def test_spread_frames_chooses_among_candidates():
    """Neighbours that are stored only as context, and frames without labels, are not shown."""
    targets = np.arange(1, 24, 3)  # the middle frames of eight clips of three
    np.testing.assert_array_equal(spread_frames(_has_previous(*[3] * 8), 4, targets), targets[1::2])
    np.testing.assert_array_equal(spread_frames(_has_previous(10), 4, np.array([2, 3, 9])), [2, 3, 9])
