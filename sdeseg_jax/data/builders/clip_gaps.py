"""Where a clip of images ends, from the names of its files: where numbers jump, or what stands before them changes."""

import datetime
import re
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from sdeseg_jax.data.builders.frame_order import decimal_number, same_form

JUMP = 5
"""Usual steps that one step may be long: recorders drop a frame or two, and frames chosen by motion are at uneven
distances. What still shows another place is found in the images, see `neighbour_changes`."""

_TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)[-_ .T]?([0-2]\d)[-_.:h]?([0-5]\d)[-_.:m]?([0-5]\d)"
    r"(?:[-_.,]?(\d{1,9}))?(?!\d)"
)
"""20231115_170431, 2023-11-15T17-04-31.250 and the like."""

_FINE = 1000
"""Smallest number of parts of a second in names such as 1700000000_250: fewer are a number of their own."""

Place = tuple[Hashable, float]
"""(What has to stay the same within a clip, number along the clip)."""


class Part(NamedTuple):
    """Frames of one clip, and why it does not go on: empty for the last one."""

    stems: list[str]
    ends: str


def split_at_gaps(stems: Sequence[str], are_decimals: bool = False) -> tuple[list[Part], str]:
    """Splits the frames of a folder into clips.

    The usual step of a clip is the median of its steps, so that the names 0, 10, 20, … are one clip, and so are times.
    Numbers that start again (IMG_9999, IMG_0001) begin another clip, as their order is that of the numbers.

    Args:
      stems: names without endings, in order (see `frame_order.order_frames`).
      are_decimals: whether they are decimal numbers.

    Returns:
      The parts, and a sentence where the names tell nothing about gaps; then there is one part.
    """
    if not stems:
        return [], ""
    own, copies = _without_copies([same_form(stem) for stem in stems], are_decimals)
    cuts = _gaps(own, are_decimals)
    firsts = [0, *sorted(cuts), len(own)]
    alone = sum(after - before == 1 for before, after in pairwise(firsts))
    if cuts and alone > len(own) / 2:
        unclear = f"names follow no pattern ({next(iter(cuts.values()))}); they are taken as one clip in this order"
        return [Part(list(stems), "")], unclear if len(own) > 2 else ""  # of two frames, none has both neighbours
    starts = [copies[first] for first in firsts[:-1]] + [len(stems)]
    ends = [cuts[first] for first in firsts[1:-1]] + [""]
    return [Part(list(stems[a:b]), why) for (a, b), why in zip(pairwise(starts), ends, strict=True)], ""


def _without_copies(stems: Sequence[str], are_decimals: bool) -> tuple[list[str], list[int]]:
    """Leaves out frames of the same number as one before: X (1) after X, frame-9-1 after frame-9.

    Returns:
      The others, and the places at which they were.
    """
    own, places = [], []
    for place, stem in enumerate(stems):
        base = own[-1] if own else ""
        is_copy = stem.startswith(base) and re.search(r"\d", base) and not stem[len(base) : len(base) + 1].isdecimal()
        if are_decimals or not is_copy:
            own.append(stem)
            places.append(place)
    return own, places


def _gaps(stems: Sequence[str], are_decimals: bool) -> dict[int, str]:
    """Returns place of the first frame of a clip -> why it begins there, without the first of all."""
    if are_decimals:
        return _jumps(stems, [decimal_number(stem) for stem in stems])
    gaps: dict[int, str] = {}
    texts = [tuple(re.split(r"\d+", stem)) for stem in stems]
    first = 0
    for place in range(1, len(stems) + 1):
        if place == len(stems) or texts[place] != texts[first]:
            found = _fewest_jumps(stems[first:place])
            gaps |= {first + number: why for number, why in found.items()}
            if place < len(stems):
                gaps[place] = f"names change from {stems[place - 1]} to {stems[place]}"
            first = place
    return gaps


def _fewest_jumps(stems: Sequence[str]) -> dict[int, str]:
    """Returns the gaps among names that differ in numbers only, in the reading of these with the fewest gaps."""
    numbers = [re.findall(r"\d+", stem) for stem in stems]
    varying = [place for place, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    if not varying:
        return {}
    readings: tuple[Callable, ...] = (_plain, _seconds_and_parts, _clock, _dates)
    places = [reading(stems, numbers, varying) for reading in readings]
    return min((_jumps(stems, one) for one in places if one), key=len)


def _plain(stems, numbers, varying) -> list[Place]:
    *before, last = varying
    return [(tuple(row[i] for i in before), int(row[last])) for row in numbers]


def _seconds_and_parts(stems, numbers, varying) -> list[Place] | None:
    """Reads 1700000000_250000000: the last two numbers are one."""
    if len(varying) < 2 or varying[-1] != varying[-2] + 1:
        return None
    *before, whole, part = varying
    digits = {len(row[part]) for row in numbers}
    parts = 10 ** (digits.pop() if len(digits) == 1 else 3 * -(-max(digits) // 3))
    if parts < _FINE:
        return None
    return [(tuple(row[i] for i in before), int(row[whole]) * parts + int(row[part])) for row in numbers]


def _clock(stems, numbers, varying) -> list[Place] | None:
    """Reads 170459 as a time of day: the next second is 170500."""
    *before, last = varying
    times = [row[last] for row in numbers]
    if not all(re.fullmatch(r"([01]\d|2[0-3])[0-5]\d[0-5]\d", time) for time in times):
        return None
    seconds = [int(time[:2]) * 3600 + int(time[2:4]) * 60 + int(time[4:]) for time in times]
    return [(tuple(row[i] for i in before), second) for row, second in zip(numbers, seconds, strict=True)]


def _dates(stems, numbers, varying) -> list[Place] | None:
    """Reads date and time, as cameras and phones write them."""
    found = [_TIME.search(stem) for stem in stems]
    if not all(found):
        return None
    try:
        times = [datetime.datetime(*map(int, one.groups()[:6]), tzinfo=datetime.UTC).timestamp() for one in found]
    except ValueError:
        return None
    rest = [stem[: one.start()] + stem[one.end() :] for stem, one in zip(stems, found, strict=True)]
    parts = [float(f"0.{one[7] or 0}") for one in found]
    return [(text, time + part) for text, time, part in zip(rest, times, parts, strict=True)]


def _jumps(stems: Sequence[str], places: Sequence[Place]) -> dict[int, str]:
    """Returns place -> why a clip begins there, for numbers that jump and prefixes that change."""
    steps = [after[1] - before[1] if before[0] == after[0] else None for before, after in pairwise(places)]
    forwards = [step for step in steps if step and step > 0]
    usual = median_low(forwards) if forwards else 0
    gaps = {}
    for place, step in enumerate(steps, start=1):
        between = f"from {stems[place - 1]} to {stems[place]}"
        if step is None:
            gaps[place] = f"names change {between}"
        elif step < 0 or step > JUMP * usual:
            gaps[place] = f"numbers jump {between} (usual step {float(usual):.6g})"
    return gaps
