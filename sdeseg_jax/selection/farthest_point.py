"""Farthest point sampling in feature space (Eq. 2), also with a term per frame added (Eq. 4): one compiled loop.

Kept between picks is the distance of every frame to the nearest annotated one, never a distance between all pairs: a
pick costs one pass over the features. The functions work on one device's share of the frames; with an axis name, the
shares of all devices along it are one set, and the result is the same.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array


@struct.dataclass
class Picks:
    """Frames in the order of choice.

    Attributes:
      index: int32 [K], place of the frame among all, the first device's first.
      criterion: float32 [K], what the frame was chosen by: the distance plus its term.
      distance: float32 [K], Euclidean, to the nearest frame that was annotated or chosen before; inf if there was none.
      tied: int32 [K], how many frames had the highest criterion; of those, the priority decided.
    """

    index: Array
    criterion: Array
    distance: Array
    tied: Array


def _squared_distance(features: Array, one: Array) -> Array:
    # Differences, not norms minus products: those cancel where it matters, at small distances. The sum is float32
    # whatever the features are stored in.
    difference = features.astype(jnp.float32) - one.astype(jnp.float32)
    return jnp.sum(difference * difference, axis=-1)


def _places(features: Array, axis_name: str | None) -> Array:
    count = len(features)
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * count
    return first + jnp.arange(count, dtype=jnp.int32)


def _everywhere(reduce_axis, value: Array, axis_name: str | None) -> Array:
    return value if axis_name is None else reduce_axis(value, axis_name)


def _measure(features: Array, places: Array, index: Array, axis_name: str | None) -> Array:
    """Squared distances [N] to frame `index`, on whichever device it is."""
    mine = places == index
    row = features[jnp.argmax(mine)]
    row = _everywhere(jax.lax.psum, jnp.where(jnp.any(mine), row, 0).astype(jnp.float32), axis_name)
    return _squared_distance(features, row)


def _take_in(nearest: Array, squared: Array, places: Array, index: Array) -> Array:
    """`nearest` after frame `index`, to which `squared` is measured, is annotated, and is not to be chosen again."""
    return jnp.where(places == index, -jnp.inf, jnp.minimum(nearest, jnp.sqrt(squared)))


def cover(features: Array, nearest: Array, chosen: Array, axis_name: str | None = None) -> Array:
    """Takes frames for annotated.

    Args:
      features: [N, D], of any floating point type.
      nearest: float32 [N], distance to the nearest annotated frame, inf where there is none; -inf for frames that
        are not to be chosen.
      chosen: int [M], places of the frames among all.
      axis_name: mapped axis over devices that each have N of the frames; None for one device.

    Returns:
      The new `nearest`.
    """
    if not len(chosen):
        return nearest
    features, chosen, places = jnp.asarray(features), jnp.asarray(chosen), _places(features, axis_name)

    def step(k, carry):
        nearest, squared = carry
        nearest = _take_in(nearest, squared, places, chosen[k - 1])
        return nearest, _measure(features, places, chosen[k], axis_name)

    first = _measure(features, places, chosen[0], axis_name)
    nearest, squared = jax.lax.fori_loop(1, len(chosen), step, (nearest, first))
    return _take_in(nearest, squared, places, chosen[-1])


def farthest_points(
    features: Array,
    nearest: Array,
    term: Array,
    priority: Array,
    count: int,
    axis_name: str | None = None,
) -> tuple[Picks, Array]:
    """Chooses, one after another, the frame with the highest `distance to the nearest annotated frame + term`.

    With a term of zero this is Eq. 2 (diversity); with lambda_E E(i), Eq. 4.

    Args:
      features, nearest, axis_name: as for `cover`.
      term: float32 [N].
      priority: int32 [N], not negative, different for all frames of all devices: the highest decides between equals,
        as among all frames while none is annotated.
      count: K, at most the number of frames whose `nearest` is not -inf; beyond that the picks mean nothing.

    Returns:
      Picks of length K, the same on all devices, and `nearest` after them.
    """
    places = _places(features, axis_name)

    def pick(k, carry):
        # What the pick before measured is taken in here, not there: XLA's CPU compiler would fuse the two, and that
        # program is 13 times slower with more than 2^28 numbers.
        picks, nearest, squared, latest = carry
        nearest = _take_in(nearest, squared, places, latest)
        criterion = nearest + term
        best = _everywhere(jax.lax.pmax, jnp.max(criterion), axis_name)
        equal = criterion == best
        first = _everywhere(jax.lax.pmax, jnp.max(jnp.where(equal, priority, -1)), axis_name)
        mine = equal & (priority == first)

        def of_pick(values):
            return _everywhere(jax.lax.psum, jnp.sum(jnp.where(mine, values, 0)), axis_name)

        index = of_pick(places)
        picks = Picks(
            picks.index.at[k].set(index),
            picks.criterion.at[k].set(best),
            picks.distance.at[k].set(of_pick(nearest)),
            picks.tied.at[k].set(_everywhere(jax.lax.psum, jnp.sum(equal, dtype=jnp.int32), axis_name)),
        )
        return picks, nearest, _measure(features, places, index, axis_name), index

    empty = Picks(*(jnp.zeros(count, kind) for kind in (jnp.int32, jnp.float32, jnp.float32, jnp.int32)))
    none = jnp.full(len(features), jnp.inf, jnp.float32), jnp.int32(-1)
    picks, nearest, squared, latest = jax.lax.fori_loop(0, count, pick, (empty, nearest, *none))
    return picks, _take_in(nearest, squared, places, latest)
