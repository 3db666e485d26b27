"""Forward passes of a step, with BatchNorm statistics carried from one to the next."""

import jax
import jax.numpy as jnp

from sdeseg_jax.depth.transforms import pose_to_transform


class Forward:
    """Applies a network several times within one traced step.

    It lives only while a step is traced: `batch_stats` is an attribute so that passes read like calls, not like
    bookkeeping.

    Attributes:
      batch_stats: running statistics after the passes so far.
    """

    def __init__(self, network, params, batch_stats, dropout_key: jax.Array):
        self._network = network
        self._params = params
        self._dropout_key = dropout_key
        self._passes = 0
        self.batch_stats = batch_stats

    def _apply(self, *args, **kwargs):
        self._passes += 1
        outputs, updates = self._network.apply(
            {"params": self._params, "batch_stats": self.batch_stats},
            *args,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.fold_in(self._dropout_key, self._passes)},
            **kwargs,
        )
        self.batch_stats = updates["batch_stats"]
        return outputs

    def __call__(self, images: jax.Array, freeze_encoder: bool = False):
        """Predicts from images [B, H, W, 3] in train mode."""
        return self._apply(images, freeze_encoder=freeze_encoder)

    def transforms(self, previous: jax.Array, target: jax.Array, following: jax.Array) -> jax.Array:
        """Ego-motion from the target camera to the cameras of its neighbours, [2, B, 4, 4].

        The pose network sees pairs in temporal order, both pairs in one pass.
        """
        pose = self._apply(
            jnp.concatenate([previous, target]), jnp.concatenate([target, following]), method="predict_pose"
        )
        batch = target.shape[0]
        to_previous = pose_to_transform(pose.axisangle[:batch], pose.translation[:batch], invert=True)
        to_following = pose_to_transform(pose.axisangle[batch:], pose.translation[batch:])
        return jnp.stack([to_previous, to_following])
