"""Where the clips of a folder of images end."""

import datetime

import numpy as np
import pytest

from sdeseg_jax.data.builders.clip_gaps import split_at_gaps
from sdeseg_jax.data.builders.frame_order import order_frames

START = datetime.datetime(2023, 11, 15, 23, 58, 30)


def lengths(names) -> list[int]:
    order, are_decimals, _ = order_frames(names)
    return [len(part.stems) for part in split_at_gaps(order, are_decimals)[0]]


def times(seconds, form):
    return [(START + datetime.timedelta(seconds=float(second))).strftime(form) for second in seconds]


def nanoseconds(seconds, form):
    return [form.format(*divmod(1_700_000_000_950_000_000 + round(1e9 * float(second)), 10**9)) for second in seconds]


FORMS = {
    "numbers": lambda steps: [f"{round(30 * step):06d}" for step in steps],
    "stride 10": lambda steps: [f"frame{300 * step:.0f}_left8bit" for step in steps],
    "milliseconds": lambda steps: [str(1_700_000_000_000 + round(1000 * step)) for step in steps],
    "python": lambda steps: [str(1_700_000_000 + round(float(step), 3)) for step in steps],
    "seconds and nanoseconds": lambda steps: nanoseconds(steps, "{}_{}"),
    "padded nanoseconds": lambda steps: nanoseconds(steps, "{}-{:09d}"),
    "dates": lambda steps: times(30 * steps, "IMG_%Y%m%d_%H%M%S"),
    "dates with microseconds": lambda steps: times(steps, "%Y-%m-%d_%H-%M-%S.%f"),
    "times of day": lambda steps: times(30 * steps - 7200, "%H%M%S"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_drive_is_one_clip_and_two_are_two(form):
    """Frames 1/30 s apart, which pass whole seconds, minutes and midnight; then a minute's break after the 70th."""
    steps = np.arange(100) / 30
    assert lengths(form(steps)) == [100]
    assert lengths(form(steps + 60 * (np.arange(100) >= 70))) == [70, 30]


@pytest.mark.parametrize("form", ["numbers", "milliseconds", "python", "seconds and nanoseconds"])
def test_late_and_lost_frames_are_no_gaps(form):
    rng = np.random.default_rng(0)
    steps = (np.arange(300) + rng.uniform(-0.2, 0.2, 300) * (form != "numbers")) / 30
    assert lengths(FORMS[form](np.delete(steps, [20, 21, 50, 90, 91, 92]))) == [294]


@pytest.mark.parametrize(
    "names, expected",
    [
        ([*range(6), *range(500, 506)], [6, 6]),
        ([f"IMG_{n:04d}" for n in (*range(9990, 10000), *range(1, 6))], [5, 10]),  # the counter starts again
        ([f"{drive}_{n}" for drive in "ab" for n in range(5)], [5, 5]),
        ([f"{drive:02d}_{n:04d}_left8bit" for drive in range(3) for n in range(9)], [9, 9, 9]),
        ([100 * burst + n for burst in range(8) for n in range(2)], [2] * 8),
        (["frame-9", "frame-9-1", "frame-9-2", "frame-10"], [4]),
        (["a_1", "a_1 (1)", "a_2", "a_900", "a_901"], [3, 2]),
        (["0", "1", "500"], [2, 1]),
        (["1", "900"], [2]),
        (["x"], [1]),
        ([], []),
    ],
)
def test_names(names, expected):
    assert lengths([str(name) for name in names]) == expected


def test_names_that_say_nothing_are_one_clip_and_said_to_be():
    names = [f"{number:016x}" for number in np.random.default_rng(0).integers(2**62, size=20)]
    parts, unclear = split_at_gaps(order_frames(names)[0])
    assert len(parts) == 1 and "follow no pattern" in unclear


def test_the_end_of_a_clip_is_explained():
    parts, _ = split_at_gaps([f"{n:03d}" for n in (0, 10, 20, 900, 910)])
    assert parts[0].ends == "numbers jump from 020 to 900 (usual step 10)" and not parts[1].ends


def test_no_frame_is_lost_or_moved():
    rng = np.random.default_rng(1)
    for _ in range(50):
        names = sorted({f"{rng.choice(['', 'a_', 'b'])}{rng.integers(0, 10 ** rng.integers(1, 5))}" for _ in range(20)})
        order, are_decimals, _ = order_frames(names)
        assert [stem for part in split_at_gaps(order, are_decimals)[0] for stem in part.stems] == order
