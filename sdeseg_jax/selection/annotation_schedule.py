"""Algorithm 1 (Sec. 3.2) as a plan: how many frames each step chooses, and by which criterion."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Method:
    """How frames are chosen.

    Attributes:
      coverage: whether by the distance to the annotated frames in feature space (Eq. 2).
      score: "student_error" (Eq. 3) or "entropy" of a network trained on the annotated frames, or "". With coverage,
        the two are added (Eq. 4).
      first: criterion of the first step if no frame is annotated yet: "coverage" or "random".
    """

    coverage: bool
    score: str
    first: str


METHODS = {
    "random": Method(False, "", "random"),
    "entropy": Method(False, "entropy", "random"),
    "diversity": Method(True, "", "coverage"),
    "uncertainty": Method(False, "student_error", "coverage"),
    "ds_us": Method(True, "student_error", "coverage"),
}
"""Methods by name. All but "entropy", which learns from the annotations, choose without a human in the loop."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of the schedule.

    Attributes:
      size: total number of chosen frames after it.
      count: frames that it chooses.
      coverage: whether by distance in feature space.
      score: "student_error", "entropy", or "" if no network is trained before it.
      student_steps: training steps of that network.
    """

    size: int
    count: int
    coverage: bool
    score: str
    student_steps: int


def plan(
    method: str, schedule: Sequence[int], student_steps: Sequence[tuple[int, int]], existing: int = 0
) -> list[Step]:
    """Returns the steps of a selection.

    Args:
      method: a key of `METHODS`.
      schedule: total number of chosen frames after each step, increasing.
      student_steps: (frames, training steps), increasing: a network that learns from at least so many frames is trained
        for so many steps; the first entry also holds for fewer frames.
      existing: number of frames annotated before the selection; with any, the first step can train a network.
    """
    chosen_by, steps, before = METHODS[method], [], 0
    for size in schedule:
        annotated = existing + before
        coverage, score = chosen_by.coverage, chosen_by.score
        if not annotated:
            coverage, score = chosen_by.first == "coverage", ""
        trained = [n for frames, n in student_steps if frames <= annotated] or [student_steps[0][1]]
        steps.append(Step(size, size - before, coverage, score, trained[-1] if score else 0))
        before = size
    return steps


def schedule_up_to(count: int, schedule: Sequence[int]) -> tuple[int, ...]:
    """Returns the sizes of a schedule below `count`, then `count`."""
    return (*(size for size in schedule if size < count), count)
