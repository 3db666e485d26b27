"""What is known of a setting: default, allowed values, stages, help; and the check of a value by itself."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import ml_collections

from sdeseg_jax.config.suggestions import nearest

MANY = 2**31 - 1
POSITIVE = 1e-9
"""As a lower limit: more than 0."""

COUNT = (1, MANY)
COUNT_OR_NONE = (0, MANY)
BATCH = (1, 4096)
PIXELS = (32, 16384)
CHANNELS = (1, 16384)
WEIGHT = (0, 1e9)
RATE = (0, 1e6)
SHARE = (0, 1.0)
METRES = (POSITIVE, 1e9)


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
      key: its name in the config, "section.name".
      default: the paper's value for Cityscapes at full size; the type of a value is that of the default.
      help: a line or two on what it does.
      limits: smallest and largest number allowed, also of the numbers in a tuple; None for any.
      choices: values allowed, of a tuple its entries; empty for any.
      lengths: numbers of entries that a tuple may have; empty for any number.
      may_be_empty: whether a tuple may have no entry.
      multiple_of: what the numbers have to be multiples of; 0 for any.
      of: type of a tuple's entries, where the default has none.
      is_path: whether it names a file or folder.
      stages: that it concerns.
      recorded_by: those of them whose results depend on it, so that another value makes them outdated; None for all.
      split_from: setting that it was a part of in older runs; what these recorded for that one holds for it, too.
    """

    key: str
    default: Any
    help: str
    limits: tuple[float, float] | None = None
    choices: tuple = ()
    lengths: tuple[int, ...] = ()
    may_be_empty: bool = True
    multiple_of: int = 0
    of: type | None = None
    is_path: bool = False
    stages: tuple[str, ...] | None = None
    recorded_by: tuple[str, ...] | None = None
    split_from: str = ""

    @property
    def holds_options(self) -> bool:
        """Whether it is a section of options that the dataset's builder defines and checks."""
        return isinstance(self.default, ml_collections.ConfigDict)

    @property
    def kind(self) -> str:
        """Type of its values, for people."""
        return f"tuple of {self.of.__name__}" if self.of else _kind(self.default)

    def problem(self, value) -> str | None:
        """What is wrong with a value by itself; None if nothing is."""
        entries = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        if not _same_kind(value, self.default) or (self.of and not all(_same_kind(one, self.of()) for one in entries)):
            return f"{value!r} should be of type {self.kind}"
        unknown = [one for one in entries if self.choices and one not in self.choices]
        if unknown:
            return f"unknown value {unknown[0]!r}{nearest(unknown[0], self.choices)}"
        if self.lengths and len(entries) not in self.lengths:
            return f"{entries} should have {self._entries_allowed()}"
        if not entries and not self.may_be_empty:
            return "() should have an entry at least"
        return next((problem for one in _leaves(entries) if (problem := self._entry_problem(one, value))), None)

    def _entry_problem(self, entry, value) -> str | None:
        if isinstance(entry, str) and not entry.isprintable():
            return f"{entry!r} contains characters that cannot be printed"
        if isinstance(entry, (str, bool)) or self.limits is None:
            return None
        low, high = self.limits
        if not low <= entry <= high:  # neither is NaN
            return f"{value} should be {'more than 0' if low == POSITIVE else low} to {high}"
        if self.multiple_of and entry % self.multiple_of:
            return f"{value} should be multiples of {self.multiple_of}"
        return None

    def allowed(self) -> str:
        """The values it may have, for people."""
        if self.choices:
            return ", ".join(repr(one) if isinstance(one, str) else str(one) for one in self.choices)
        parts = [self.kind]
        if self.lengths:
            parts.append(self._entries_allowed())
        if self.limits:
            low, high = self.limits
            least = "more than 0" if low == POSITIVE else f"{low:g}"
            parts.append(f"{least} or more" if high == MANY else f"{least} to {high:g}")
        if self.multiple_of:
            parts.append(f"multiples of {self.multiple_of}")
        return ", ".join(parts)

    def _entries_allowed(self) -> str:
        return " or ".join(f"{n} entries" if n else "none" for n in sorted(self.lengths, reverse=True))


def section(
    prefix: str, stages: Iterable[str] | None, *settings: Setting, recorded_by: tuple[str, ...] | None = None
) -> tuple[Setting, ...]:
    """Settings of one section: their keys get its name; what they do not say of stages themselves is as given here."""
    return tuple(
        dataclasses.replace(
            one,
            key=f"{prefix}.{one.key}",
            stages=one.stages if one.stages is not None or stages is None else tuple(stages),
            recorded_by=recorded_by if one.recorded_by is None else one.recorded_by,
        )
        for one in settings
    )


def alike(settings: Iterable[Setting], prefix: str, **defaults) -> tuple[Setting, ...]:
    """Settings that mean the same in another section: those that `defaults` names, by the last part of their keys.

    Args:
      settings: to choose from.
      prefix: of their keys there; `section` adds its own, and says which stages they concern.
      defaults: name -> default there.
    """
    by_name = {one.key.rpartition(".")[2]: one for one in settings}
    free = {"stages": None, "recorded_by": None, "split_from": ""}
    return tuple(
        dataclasses.replace(by_name[name], key=f"{prefix}.{name}".lstrip("."), default=default, **free)
        for name, default in defaults.items()
    )


def _leaves(entries) -> Iterable:
    for one in entries:
        if isinstance(one, (tuple, list)):
            yield from _leaves(one)
        else:
            yield one


def _same_kind(value, default) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, (tuple, list)):
        return isinstance(value, (tuple, list)) and all(_same_kind(one, default[0]) for one in value if default)
    return isinstance(value, type(default))


def _kind(default) -> str:
    inner = f" of {_kind(default[0])}" if isinstance(default, (tuple, list)) and default else ""
    return type(default).__name__ + inner
