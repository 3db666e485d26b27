"""The training step for any objective: gradient averaged over devices, update, mean teacher."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from sdeseg_jax.mixing.mean_teacher import update_teacher
from sdeseg_jax.models.layers import numbered_keys
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.train_state import TrainState


@struct.dataclass
class Outcome:
    """Results of an objective beside its total.

    Attributes:
      terms: name -> scalar loss before weighting; a NaN is reported by the name of its term.
      batch_stats, teacher_batch_stats: statistics after the forward passes.
      metrics: name -> scalar, for logging.
    """

    terms: dict[str, jax.Array]
    batch_stats: Any
    teacher_batch_stats: Any
    metrics: dict[str, jax.Array]


Objective = Callable[[Any, TrainState, dict, jax.Array], tuple[jax.Array, Outcome]]
"""objective(params, state, batches, key) -> (total, Outcome), for one device's share of the batches."""


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    seed: int | None = None,
    teacher_decay: float | None = None,
):
    """Builds the per-device step `(state, batches) -> (state, metrics)`, to be mapped over the axis `AXIS`.

    Randomness is a function of (seed, step) only. The key is the same on every device; an objective folds in whatever
    must differ between them.

    If any metric (a loss, the gradient's norm or another) is NaN or infinite, the step is skipped: only `state.step`
    increases, and the metric `skipped` is 1.

    Args:
      objective: see `Objective`.
      optimizer: applied to the device-averaged gradient.
      seed: of all randomness in the step; None to take it from `batches["seed"]` (see `replicate`).
      teacher_decay: of the mean teacher; None for no teacher.
    """

    def step(state: TrainState, batches: dict) -> tuple[TrainState, dict]:
        own = batches["seed"] if seed is None else seed
        batches = {name: batch for name, batch in batches.items() if name != "seed"}
        key = jax.random.fold_in(jax.random.key(own), state.step)
        differentiate = jax.value_and_grad(objective, has_aux=True)
        (total, outcome), gradients = differentiate(state.params, state, batches, key)

        gradients, total, outcome = jax.lax.pmean((gradients, total, outcome), AXIS)
        metrics = {f"loss/{name}": value for name, value in outcome.terms.items()}
        metrics |= {"loss/total": total, "gradient_norm": optax.global_norm(gradients)} | outcome.metrics
        metrics = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
        finite = jnp.all(jnp.isfinite(jnp.stack(list(metrics.values()))))

        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        teacher_params = state.teacher_params
        if teacher_decay is not None:
            teacher_params = update_teacher(teacher_params, params, state.step, teacher_decay)
        updated = state.replace(
            params=params,
            batch_stats=outcome.batch_stats,
            opt_state=opt_state,
            teacher_params=teacher_params,
            teacher_batch_stats=outcome.teacher_batch_stats,
        )
        state = jax.tree.map(lambda new, old: new if new is old else jnp.where(finite, new, old), updated, state)
        return state.replace(step=state.step + 1), metrics | {"skipped": 1.0 - finite.astype(jnp.float32)}

    return step


def sample_keys(key: jax.Array, samples: int) -> jax.Array:
    """Returns a key for each of this device's samples, a function of the sample's index in the global batch only."""
    return numbered_keys(key, jax.lax.axis_index(AXIS) * samples, samples)
