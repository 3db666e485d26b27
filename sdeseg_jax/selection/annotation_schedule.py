"""Algorithm 1 (Sec. 3.2) as a plan: how many frames each step chooses, and by what."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Method:
    """How frames are chosen.

    Attributes:
      coverage: by the distance to the annotated frames in feature space (Eq. 2).
      score: by a network trained on the annotated frames: "student_error" (Eq. 3) or "entropy"; "" for neither. With
        coverage, the two are added (Eq. 4).
      first: what the first step goes by where nothing is annotated yet that a network could learn from: "coverage" or
        "random".
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
"""By name. All but "entropy", which learns from the annotations, choose without a human in the loop."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of the schedule.

    Attributes:
      size: frames that are chosen after it.
      count: frames that it chooses.
      coverage: whether by distance in feature space.
      score: "student_error", "entropy", or "" where no network is trained before it.
      student_steps: of that network's training.
    """

    size: int
    count: int
    coverage: bool
    score: str
    student_steps: int


def plan(
    method: str, schedule: Sequence[int], student_steps: Sequence[tuple[int, int]], existing: int = 0
) -> list[Step]:
    """The steps of a selection.

    Args:
      method: of `METHODS`.
      schedule: frames chosen after each step, growing.
      student_steps: (frames, steps), growing: a network that learns from at least so many frames is trained for so many
        steps; from fewer than the first, as from those.
      existing: frames that are annotated before the selection; with some, a network can be trained for the first step.
    """
    chosen_by, steps, before = METHODS[method], [], 0
    for size in schedule:
        annotated = existing + before
        start = annotated == 0
        score = "" if start else chosen_by.score
        trained = [n for frames, n in student_steps if frames <= annotated] or [student_steps[0][1]]
        steps.append(
            Step(
                size,
                size - before,
                chosen_by.first == "coverage" if start else chosen_by.coverage,
                score,
                trained[-1] if score else 0,
            )
        )
        before = size
    return steps


def schedule_up_to(count: int, schedule: Sequence[int]) -> tuple[int, ...]:
    """The steps of a schedule that lead to `count` frames: those before it, then `count`."""
    return (*(size for size in schedule if size < count), count)
