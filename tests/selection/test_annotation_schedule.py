"""Algorithm 1 as a plan, and the comparison of class frequencies."""

import numpy as np
import pytest

from sdeseg_jax.config import SETTINGS, default_config
from sdeseg_jax.selection.annotation_schedule import METHODS, Step, plan, schedule_up_to
from sdeseg_jax.selection.class_frequency import class_shares, frequency_ratios


def test_the_paper():
    selection = default_config().selection
    steps = plan("ds_us", selection.schedule, selection.student_steps)
    assert [(step.size, step.count, step.student_steps) for step in steps] == [
        (25, 25, 0),
        (50, 25, 4000),
        (100, 50, 8000),
        (200, 100, 12000),
        (372, 172, 16000),
        (744, 372, 20000),
    ]
    assert steps[0] == Step(25, 25, True, "", 0) and all(step.score == "student_error" for step in steps[1:])


@pytest.mark.parametrize(
    "method, first, then",
    [
        ("random", (False, ""), (False, "")),
        ("entropy", (False, ""), (False, "entropy")),
        ("diversity", (True, ""), (True, "")),
        ("uncertainty", (True, ""), (False, "student_error")),
        ("ds_us", (True, ""), (True, "student_error")),
    ],
)
def test_methods(method, first, then):
    pairs = ((1, 10),)
    steps = plan(method, (2, 4), pairs)
    assert [(step.coverage, step.score) for step in steps] == [first, then]
    assert [(step.coverage, step.score) for step in plan(method, (2, 4), pairs, existing=3)] == [then, then]


def test_every_method_can_be_asked_for():
    assert tuple(METHODS) == SETTINGS["selection.method"].choices


def test_students_are_trained_by_the_number_of_frames_they_learn_from():
    """Existing frames count: with 200 labels, the first student has the paper's 16,000 steps."""
    steps = plan("ds_us", (10, 20, 30), ((8, 100), (15, 200)), existing=5)
    assert [step.student_steps for step in steps] == [100, 200, 200]
    paper = default_config().selection.student_steps
    assert [step.student_steps for step in plan("ds_us", (50, 200), paper, existing=200)] == [16000, 16000]


def test_schedule_up_to():
    assert schedule_up_to(100, (25, 50, 100, 200)) == (25, 50, 100)
    assert schedule_up_to(120, (25, 50, 100, 200)) == (25, 50, 100, 120)
    assert schedule_up_to(10, (25, 50)) == (10,)


def test_class_shares_and_ratios():
    counts = np.zeros((40, 3), np.int64)
    counts[:, 0] = 90
    counts[:10, 1] = 10  # a rare class
    np.testing.assert_allclose(class_shares(counts, np.array([0, 20])), [180 / 190, 10 / 190, 0])
    ratios = frequency_ratios(counts, np.arange(10), seed=0)
    np.testing.assert_allclose(ratios["share"], [0.9, 0.1, 0])
    assert 3 < ratios["ratio"][1] < 5 and ratios["ratio"][0] < 1 and np.isnan(ratios["ratio"][2])
    assert 0.2 < ratios["ratio_deviation"][1] < 0.8 and ratios["ratio_deviation"][0] < 0.05
    random = frequency_ratios(counts, np.random.default_rng(1).permutation(40)[:20], seed=0)
    assert abs(random["ratio"][1] - 1) < 3 * random["ratio_deviation"][1]
    again = frequency_ratios(counts, np.arange(10), seed=0)
    np.testing.assert_array_equal(ratios["random_share"], again["random_share"])
