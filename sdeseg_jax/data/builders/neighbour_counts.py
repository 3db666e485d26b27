"""Counts neighbouring frames that are nearly the same or differ by a cut, for the report of a preparation."""

from collections.abc import Mapping, Sequence

import numpy as np

from sdeseg_jax.config import SETTINGS
from sdeseg_jax.data.frame_dataset import FrameIndex

_SHOWN = 5
"""Most clips that the report names."""


def neighbour_counts(index: FrameIndex, clips: Sequence) -> dict:
    """Counts pairs of neighbours that depth is not learned from, with the default thresholds of `config.video`.

    Args:
      index: of a split, with its changes.
      clips: [(clip name, [frame ids])] of it.

    Returns:
      `pairs`, their number in all; `clips`: name of a clip -> [nearly the same, cuts], of clips that have some;
      `left_out`: number of frames; `thresholds`: setting -> value.
    """
    thresholds = {key: SETTINGS[key].default for key in ("video.min_difference", "video.min_match")}
    min_difference, min_match = thresholds.values()
    found: dict[str, list[int]] = {}
    last = 0
    for name, ids in clips:
        own = slice(last, last := last + len(ids))
        same, cuts = int((index.difference[own] < min_difference).sum()), int((index.match[own] < min_match).sum())
        if same or cuts:
            before = found.get(name, [0, 0])
            found[name] = [before[0] + same, before[1] + cuts]
    left_out = np.union1d(index.near_same_view(min_difference), index.near_cut(min_match))
    return {"pairs": int(index.has_previous.sum()), "clips": found, "left_out": len(left_out), "thresholds": thresholds}


def neighbour_lines(counts: Mapping) -> list[str]:
    """Returns lines of the report on the result of `neighbour_counts`; none if there is nothing to say."""
    if not counts["clips"]:
        return []
    same, cuts = (sum(column) for column in zip(*counts["clips"].values(), strict=True))
    flags = ", ".join(f"config.{key} = {value:g}" for key, value in counts["thresholds"].items())
    lines = [
        f"  of {counts['pairs']} pairs of neighbours, {same} are nearly the same and {cuts} differ by a cut: depth is "
        f"not learned from {counts['left_out']} frames ({flags})"
    ]
    worst = sorted(counts["clips"].items(), key=lambda item: -sum(item[1]))
    lines += [f"    {name}: {same} nearly the same, {cuts} cuts" for name, (same, cuts) in worst[:_SHOWN]]
    if len(worst) > _SHOWN:
        lines.append(f"    … and {len(worst) - _SHOWN} more clips; all are in the dataset's metadata.json")
    return lines
