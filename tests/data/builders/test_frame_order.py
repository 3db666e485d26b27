"""The order of a clip's frames, whatever order the disk lists them in."""

import itertools
import unicodedata

import numpy as np
import pytest

from sdeseg_jax.data.builders.frame_order import order_frames

IN_ORDER = {
    "copies": ["IMG_20231115_170430", "IMG_20231115_170431", "IMG_20231115_170431 (1)", "IMG_20231115_170432"],
    "bursts": ["frame-9", "frame-9-1", "frame-9-2", "frame-10"],
    "seconds": ["1700000000.45", "1700000000.5", "1700000000.525", "1700000000.6"],
    "whole seconds": ["99.5", "100", "100.25", "101"],
    "before and after zero": ["-1.5", "-0.25", "0.5", "0.75"],
    "with a name": ["cam0_0.05", "cam0_0.1", "cam0_0.15", "cam0_1"],
    "comma": ["0,45", "0,5", "0,525"],
    "counters": ["1.1", "1.2", "1.9", "1.10", "1.11"],
    "every second one": ["1.1", "1.3", "1.5", "1.7", "1.9", "1.11"],
    "nanoseconds without zeros": ["17.5000000", "17.45000000", "17.85000000", "17.125000000"],
    "dates": ["2023.9.3", "2023.10.1", "2023.11.15"],
    "padding": ["0", "1", "02", "10"],
    "letters": ["a", "b", "c10", "d9"],
}


@pytest.mark.parametrize("names", IN_ORDER.values(), ids=IN_ORDER)
def test_the_order_does_not_depend_on_how_the_disk_lists_names(names):
    for listed in itertools.permutations(names):
        assert order_frames(listed)[0] == names


@pytest.mark.parametrize(
    "kind, reading",
    [
        ("seconds", "read as decimals: 1700000000.45 comes before 1700000000.5"),
        ("counters", "read as a number of their own: 1.9 comes before 1.10"),
    ],
)
def test_the_reading_is_told_where_there_are_two(kind, reading):
    assert reading in order_frames(IN_ORDER[kind])[2]


@pytest.mark.parametrize("kind", ["copies", "bursts", "dates", "padding", "letters"])
def test_nothing_is_told_where_there_is_one(kind):
    assert not order_frames(IN_ORDER[kind])[2]


def test_python_times_at_any_rate():
    """Names as `str(time)` and `f"{time:.3f}"` write them."""
    rng = np.random.default_rng(0)
    for rate in (5, 15, 29.97, 100):
        times = 1.7e9 + np.round(np.cumsum(rng.uniform(0.9, 1.1, 60) / rate), 3)
        for names in ([str(float(time)) for time in times], [f"{time:.3f}" for time in times]):
            assert order_frames(rng.permutation(names).tolist())[0] == names


def test_accents_in_both_forms():
    names = [f"straße_é{number}" for number in range(12)]
    mixed = [unicodedata.normalize("NFD" if number % 2 else "NFC", name) for number, name in enumerate(names)]
    assert order_frames(mixed[::-1])[0] == mixed
