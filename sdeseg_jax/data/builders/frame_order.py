"""The order of the frames of a clip, from the names of their files."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from statistics import median

_DECIMAL = re.compile(r"(?P<prefix>|.*?[^\d.,])(?P<whole>\d+)(?:[.,](?P<digits>\d+))?")
"""A name that is, or ends in, a number that may have decimals: 1700000000.45, cam0_12.5. Not 2023.11.15."""


def same_form(name: str) -> str:
    """Returns a name with its accents in the form (NFC) in which names are compared: systems store them in two."""
    return unicodedata.normalize("NFC", name)


def natural_key(name: str) -> list:
    """Returns a sorting key that puts frame 2 before frame 10; for files, of the name without its ending."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", same_form(str(name)))]


def decimal_number(stem: str) -> tuple[str, Decimal] | None:
    """Returns (what stands before it, the number with decimals) of a name that ends in one, else None."""
    if not (found := _DECIMAL.fullmatch(same_form(stem))):
        return None
    number = Decimal(f"{found['whole']}.{found['digits'] or 0}")
    return ("", -number) if found["prefix"] == "-" else (found["prefix"], number)


def order_frames(stems: Iterable[str]) -> tuple[list[str], bool, str]:
    """Sorts the frames of a clip: naturally, or as decimal numbers where all names are such numbers.

    Digits behind a dot can be decimals, as in the seconds that Python writes (0.45, 0.5), or a second counter (1.9,
    1.10). Where this makes a difference, the names themselves decide, see `_are_decimals`.

    Args:
      stems: names without their endings.

    Returns:
      The names in order; whether they were read as decimal numbers; and a sentence on which reading was taken, empty
      where both give the same order.
    """
    stems = list(stems)
    counted = sorted(stems, key=lambda stem: (natural_key(stem), stem))
    found = [_DECIMAL.fullmatch(same_form(stem)) for stem in stems]
    if not any(one and one["digits"] for one in found):
        return counted, False, ""
    by_value = sorted(stems, key=lambda stem: (_decimal_key(stem), stem))
    are_numbers = all(found) and len({decimal_number(stem)[0] for stem in stems}) == 1
    numbers = [(one["whole"], one["digits"]) for one in found if one and one["digits"]]
    is_decimal = are_numbers and (by_value == counted or _are_decimals(numbers))
    if by_value == counted:
        return counted, is_decimal, ""
    order, other = (by_value, counted) if is_decimal else (counted, by_value)
    places = {stem: place for place, stem in enumerate(other)}
    first, second = next(pair for pair in pairwise(order) if places[pair[0]] > places[pair[1]])
    reading = "decimals" if is_decimal else "a number of their own"
    return order, is_decimal, f"digits behind a dot are read as {reading}: {first} comes before {second}"


def _decimal_key(stem: str) -> list:
    number = decimal_number(stem)
    return natural_key(stem) if number is None else [*natural_key(number[0]), number[1], ""]


def _are_decimals(numbers: Sequence[tuple[str, str]]) -> bool:
    """Whether (whole, digits behind the dot), whose numbers of digits vary, are decimals rather than counters.

    Decimals whose last zeros are left out, as Python does, never end in one. Counters never begin with one unless they
    have a fixed number of digits. Else, the reading by which the frames are at more regular distances is taken.
    """
    values = [Decimal(f"{whole}.{digits}") for whole, digits in numbers]
    if len({(int(whole), value) for (whole, _), value in zip(numbers, values, strict=True)}) < len(set(numbers)):
        return False  # 1.1 and 1.10 would be the same
    if any(len(digits) > 1 and digits[0] == "0" for _, digits in numbers):
        return True
    if any(len(digits) > 1 and digits[-1] == "0" for _, digits in numbers):
        return False
    longest = max(len(digits) for _, digits in numbers)
    counters = [int(whole) + Decimal(int(digits)).scaleb(-longest) for whole, digits in numbers]
    return _irregularity(values) <= _irregularity(counters)


def _irregularity(values: Iterable[Decimal]) -> float:
    """Returns the share of steps that differ from the usual one by more than half of it."""
    steps = [after - before for before, after in pairwise(sorted(values))]
    usual = median(steps) if steps else 0
    return sum(abs(step - usual) > usual / 2 for step in steps) / max(1, len(steps))
