"""State that a training carries from step to step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

PyTree = Any


@struct.dataclass
class TrainState:
    """State of any training. Data order and randomness are not part of it: they are functions of (seed, step).

    Attributes:
      step: int32, number of steps done.
      params, batch_stats: of the student.
      opt_state: of the optimizer.
      teacher_params, teacher_batch_stats: of the mean teacher; empty dicts without one.
      reference: encoder variables that the feature distance compares with; an empty dict if unused.
    """

    step: jax.Array
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    teacher_params: PyTree
    teacher_batch_stats: PyTree
    reference: PyTree


def create_state(
    variables: PyTree,
    optimizer: optax.GradientTransformation,
    with_teacher: bool = False,
    reference: PyTree | None = None,
) -> TrainState:
    """Returns the first state of a training; the teacher starts as a copy of the student.

    Args:
      variables: {"params": ..., "batch_stats": ...}, initialised or transferred.
      optimizer: whose state to create.
      with_teacher: whether to carry a mean teacher.
      reference: encoder variables for the feature distance.
    """
    copy = lambda tree: jax.tree.map(jnp.array, tree)  # noqa: E731  (donation forbids sharing buffers)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=copy(params),
        batch_stats=copy(batch_stats),
        opt_state=optimizer.init(params),
        teacher_params=copy(params) if with_teacher else {},
        teacher_batch_stats=copy(batch_stats) if with_teacher else {},
        reference={} if reference is None else copy(reference),
    )
