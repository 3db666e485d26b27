"""Farthest point sampling in feature space (Eq. 2), optionally plus a term per frame (Eq. 4), as one compiled loop.

Only the distance of every frame to the nearest annotated one is kept, not those of all pairs: a pick costs one pass
over the features. The functions work on one device's share of the frames; with an axis name, the shares of all devices
along it form one set, and the result is the same.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array


@struct.dataclass
class Picks:
    """Frames in the order of choice.

    Attributes:
      index: int32 [K], index of the frame among those of all devices, the first device's first.
      criterion: float32 [K], distance plus term.
      distance: float32 [K], Euclidean, to the nearest frame annotated or chosen before; inf without any.
      tied: int32 [K], how many frames had the highest criterion; the priority decided between them.
    """

    index: Array
    criterion: Array
    distance: Array
    tied: Array


def _squared_distance(features: Array, one: Array) -> Array:
    # Differences, because norms minus products cancel at small distances, which matter. Sums are float32 for features
    # of any type.
    difference = features.astype(jnp.float32) - one.astype(jnp.float32)
    return jnp.sum(difference * difference, axis=-1)


def _global_indices(features: Array, axis_name: str | None) -> Array:
    count = len(features)
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * count
    return first + jnp.arange(count, dtype=jnp.int32)


def _reduce(reduce_axis, value: Array, axis_name: str | None) -> Array:
    return value if axis_name is None else reduce_axis(value, axis_name)


def _squared_distances_to(features: Array, indices: Array, index: Array, axis_name: str | None) -> Array:
    """Returns squared distances [N] to frame `index`, whichever device holds it."""
    mine = indices == index
    row = features[jnp.argmax(mine)]
    row = _reduce(jax.lax.psum, jnp.where(jnp.any(mine), row, 0).astype(jnp.float32), axis_name)
    return _squared_distance(features, row)


def _annotate(nearest: Array, squared: Array, indices: Array, index: Array) -> Array:
    """Returns `nearest` with frame `index`, at the distances `squared`, annotated and excluded from later picks."""
    return jnp.where(indices == index, -jnp.inf, jnp.minimum(nearest, jnp.sqrt(squared)))


def update_nearest(features: Array, nearest: Array, chosen: Array, axis_name: str | None = None) -> Array:
    """Returns `nearest` after more frames are annotated.

    Args:
      features: [N, D], of any floating point type.
      nearest: float32 [N], distance to the nearest annotated frame, inf without any; -inf for frames that must not be
        chosen.
      chosen: int [M], indices of the annotated frames among those of all devices.
      axis_name: mapped axis over devices that each hold N of the frames; None for one device.
    """
    if not len(chosen):
        return nearest
    features, chosen, indices = jnp.asarray(features), jnp.asarray(chosen), _global_indices(features, axis_name)

    def step(k, carry):
        nearest, squared = carry
        nearest = _annotate(nearest, squared, indices, chosen[k - 1])
        return nearest, _squared_distances_to(features, indices, chosen[k], axis_name)

    first = _squared_distances_to(features, indices, chosen[0], axis_name)
    nearest, squared = jax.lax.fori_loop(1, len(chosen), step, (nearest, first))
    return _annotate(nearest, squared, indices, chosen[-1])


def farthest_points(
    features: Array, nearest: Array, term: Array, priority: Array, count: int, axis_name: str | None = None
) -> tuple[Picks, Array]:
    """Chooses, one after another, the frame with the highest `distance to the nearest annotated frame + term`.

    With a term of zero this is Eq. 2 (diversity), with lambda_E E(i) it is Eq. 4.

    Args:
      features, nearest, axis_name: as for `update_nearest`.
      term: float32 [N].
      priority: int32 [N], not negative, different for all frames of all devices: ties go to the highest, as does the
        first pick if no frame is annotated.
      count: K, at most the number of frames whose `nearest` is not -inf; picks beyond that are meaningless.

    Returns:
      Picks of length K, the same on all devices, and `nearest` after them.
    """
    indices = _global_indices(features, axis_name)

    def pick(k, carry):
        # The previous pick is annotated here and not right after it was measured: XLA's CPU compiler would fuse the two
        # into a program that is 13 times slower for more than 2^28 numbers.
        picks, nearest, squared, latest = carry
        nearest = _annotate(nearest, squared, indices, latest)
        criterion = nearest + term
        best = _reduce(jax.lax.pmax, jnp.max(criterion), axis_name)
        equal = criterion == best
        first = _reduce(jax.lax.pmax, jnp.max(jnp.where(equal, priority, -1)), axis_name)
        mine = equal & (priority == first)

        def value_of_pick(values):
            return _reduce(jax.lax.psum, jnp.sum(jnp.where(mine, values, 0)), axis_name)

        index = value_of_pick(indices)
        picks = Picks(
            picks.index.at[k].set(index),
            picks.criterion.at[k].set(best),
            picks.distance.at[k].set(value_of_pick(nearest)),
            picks.tied.at[k].set(_reduce(jax.lax.psum, jnp.sum(equal, dtype=jnp.int32), axis_name)),
        )
        return picks, nearest, _squared_distances_to(features, indices, index, axis_name), index

    empty = Picks(*(jnp.zeros(count, kind) for kind in (jnp.int32, jnp.float32, jnp.float32, jnp.int32)))
    none = jnp.full(len(features), jnp.inf, jnp.float32), jnp.int32(-1)
    picks, nearest, squared, latest = jax.lax.fori_loop(0, count, pick, (empty, nearest, *none))
    return picks, _annotate(nearest, squared, indices, latest)
