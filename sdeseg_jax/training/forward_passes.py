"""Forward passes of a step: several batches in one pass, with BatchNorm statistics updated in order."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from sdeseg_jax.depth.rigid_transforms import pose_to_transform
from sdeseg_jax.models.layers import BATCH_NORM_MOMENTUM, numbered_keys
from sdeseg_jax.models.network import Predictions


class Forward:
    """Applies a network in train mode within one traced step, and keeps its BatchNorm statistics.

    Batches of different kinds (labelled images, the pool, mixed images) share a pass where possible: one program to
    compile, and more work at once for the device. BatchNorm still normalises each batch with its own statistics, so
    that the numbers equal those of one pass per batch, one after the other, as in the release.
    """

    def __init__(
        self, network, params, batch_stats, dropout_key: jax.Array, order: Sequence[str] = (), frozen: bool = False
    ):
        """Takes one set of weights.

        Args:
          network: a Network.
          params, batch_stats: its variables.
          dropout_key: the same on all devices; each sample still has its own mask.
          order: batch names in the order in which they update the running statistics, whenever they pass. Batches that
            are not named come first, in the order of the calls.
          frozen: pass no gradients to the encoder.
        """
        self._network, self._variables = network, {"params": params, "batch_stats": batch_stats}
        self._dropout_key, self._order, self._frozen = dropout_key, tuple(order), frozen
        self._passed: list[tuple[str, list[jax.Array | None]]] = []

    def _apply(self, batches: Mapping[str, Any], **kwargs) -> dict[str, Any]:
        """Applies the network to every tuple of arrays [B, ...]; all of them have the same shapes."""
        keys = numbered_keys(self._dropout_key, len(self._passed), len(batches))
        before = jax.tree.leaves(self._variables["batch_stats"])

        def apply(key, inputs):
            outputs, updates = self._network.apply(
                self._variables, *inputs, train=True, mutable=["batch_stats"], rngs={"dropout": key}, **kwargs
            )
            # None for the statistics of modules that did not run: Flax returns the same objects.
            after = jax.tree.leaves(updates["batch_stats"])
            return outputs, [None if a is b else a for a, b in zip(after, before, strict=True)]

        if len(batches) == 1:
            results = [apply(keys[0], *batches.values())]
        else:
            stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches.values())
            together = jax.vmap(apply)(keys, stacked)
            results = [jax.tree.map(lambda x, i=i: x[i], together) for i in range(len(batches))]
        self._passed += [(name, updated) for name, (_, updated) in zip(batches, results, strict=True)]
        return {name: outputs for name, (outputs, _) in zip(batches, results, strict=True)}

    @property
    def batch_stats(self):
        """Running statistics after all passes so far, as if each batch had passed alone."""
        before, structure = jax.tree.flatten(self._variables["batch_stats"])
        ranks, stats = {name: i for i, name in enumerate(self._order)}, before
        for _, updated in sorted(self._passed, key=lambda passed: ranks.get(passed[0], -1)):
            # updated = m before + (1 - m) batch, wanted is m stats + (1 - m) batch.
            stats = [
                s if u is None else u + BATCH_NORM_MOMENTUM * (s - b)
                for s, u, b in zip(stats, updated, before, strict=True)
            ]
        return jax.tree.unflatten(structure, stats)

    def __call__(self, images: jax.Array):
        """Returns predictions for images [B, H, W, 3]."""
        return self._apply({"": (images,)}, freeze_encoder=self._frozen)[""]

    def together(self, images: Mapping[str, jax.Array], depth: Sequence[str], segmentation: Sequence[str]):
        """Returns predictions for several batches of images from one pass.

        Args:
          images: name -> [B, H, W, 3], all of one shape.
          depth, segmentation: names of the batches whose disparities or logits are needed. Others are not computed,
            which saves much of the work at full resolution.

        Returns:
          name -> Predictions, with None for what is not needed.
        """
        shared = self._apply(
            {name: (batch,) for name, batch in images.items()}, method="share", freeze_encoder=self._frozen
        )

        def predict(wanted, **settings):
            chosen = {name: (shared[name],) for name in images if name in wanted}
            return self._apply(chosen, method="predict", **settings) if chosen else {}

        disparities, logits = predict(depth, segmentation=False), predict(segmentation, depth=False)
        return {name: _joined(disparities.get(name), logits.get(name)) for name in images}

    def transforms(self, frames: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Returns the motion from the target's camera to the previous and next frame's, [2, B, 4, 4] for every batch.

        Args:
          frames: name -> [3, B, H, W, 3]: previous, target and next. The pose network gets pairs in temporal order;
            both pairs of a batch are normalised together.
        """
        pairs = {
            f"pose of {name}": (jnp.concatenate([previous, target]), jnp.concatenate([target, following]))
            for name, (previous, target, following) in frames.items()
        }
        poses = self._apply(pairs, method="predict_pose")
        return {name: _both_ways(poses[f"pose of {name}"], batch.shape[1]) for name, batch in frames.items()}


def _joined(depth: Predictions | None, segmentation: Predictions | None) -> Predictions:
    if depth is None or segmentation is None:
        return depth or segmentation
    return depth.replace(logits=segmentation.logits, intermediate_logits=segmentation.intermediate_logits)


def _both_ways(pose, batch: int) -> jax.Array:
    to_previous = pose_to_transform(pose.axisangle[:batch], pose.translation[:batch], invert=True)
    to_following = pose_to_transform(pose.axisangle[batch:], pose.translation[batch:])
    return jnp.stack([to_previous, to_following])
