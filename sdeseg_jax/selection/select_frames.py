"""Data selection (Sec. 3.2) on arrays: which frames to annotate, given their features."""

import functools
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.selection.farthest_point import farthest_points, update_nearest


def pick_priority(count: int, seed: int) -> np.ndarray:
    """Returns int [count], all different: which of several frames with the same criterion is chosen, the highest."""
    return np.random.default_rng([seed, 13]).permutation(count)


def select_frames(
    features: np.ndarray,
    count: int,
    errors: np.ndarray | None = None,
    existing: Collection[int] = (),
    error_weight: float = 1000.0,
    seed: int = 0,
) -> np.ndarray:
    """Chooses frames to annotate: far from each other and from annotated ones, and, with errors, hard (Eq. 2, Eq. 4).

    Args:
      features: [N, D], of any floating point type; e.g. from `pool_features`.
      count: how many to choose.
      errors: [N], E(i) of Eq. 3, e.g. from `student_error`; None for diversity alone.
      existing: indices of frames that are annotated already; they are not chosen again.
      error_weight: lambda_E of Eq. 4, in the unit of the features' distances.
      seed: for ties, such as that of the first frame if none is annotated.

    Returns:
      int32 [count], indices in the order of choice.

    Raises:
      ValueError: more frames than there are, or arrays of a wrong shape or with values that are not finite.

    Example:
      >>> import numpy as np
      >>> from sdeseg_jax.selection import select_frames
      >>> features = np.array([[0.0], [1.0], [5.0], [9.0]])
      >>> select_frames(features, 2, existing=[0]).tolist()
      [3, 2]
    """
    features = np.asarray(features)
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise ValueError(
            f"features should be floating point [frames, dimensions], not {features.dtype} {features.shape}"
        )
    frames, annotated = len(features), np.unique(np.asarray(list(existing), np.int64))
    if len(annotated) and not 0 <= annotated[0] <= annotated[-1] < frames:
        raise ValueError(f"existing should be indices of the {frames} frames, 0 to {frames - 1}")
    if not 0 <= count <= frames - len(annotated):
        rest = f", {len(annotated)} of them annotated" if len(annotated) else ""
        raise ValueError(f"count = {count}, but there are only {frames} frames{rest}")
    term = np.zeros(frames) if errors is None else np.asarray(errors, np.float64)
    if term.shape != (frames,):
        raise ValueError(f"errors should have one value per frame, [{frames}], not {term.shape}")
    for name, values in (("features", features), ("errors", term)):
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{name} have values that are not finite")
    if not count:
        return np.zeros(0, np.int32)
    # As data selection does: with float16, a pick takes 2.7 times as long on CPUs.
    features = jnp.asarray(features, jnp.float32 if jax.default_backend() == "cpu" else features.dtype)
    nearest = jnp.full(frames, jnp.inf, jnp.float32)
    if len(annotated):
        nearest = _update(features, nearest, jnp.asarray(annotated, jnp.int32))
    priority = jnp.asarray(pick_priority(frames, seed), jnp.int32)
    return np.asarray(_choose(features, nearest, jnp.asarray(error_weight * term, jnp.float32), priority, int(count)))


_update = jax.jit(update_nearest)


@functools.partial(jax.jit, static_argnames="count")
def _choose(features, nearest, term, priority, count: int):
    picks, _ = farthest_points(features, nearest, term, priority, count)
    return picks.index
