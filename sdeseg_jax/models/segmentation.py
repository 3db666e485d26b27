"""Segmentation decoder and its heads: paper sections 3.2 (selection), 3.3 (transfer and multi-task) and 4.2."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from sdeseg_jax.models.decoder import TaskDecoder
from sdeseg_jax.models.layers import Conv, Dropout, Dtype, batch_norm
from sdeseg_jax.models.resize import resize_bilinear

SEGMENTATION_HEADS = ("classifier", "projection", "half_resolution", "linear")


class SegmentationHeads(nn.Module):
    """Class logits from decoder features, in one of three forms.

    - 'classifier': a 1×1 convolution (multi-task network).
    - 'projection': 1×1 without bias, then the classifier (transfer network).
    - 'half_resolution': 1×1 without bias → 3×3 + BatchNorm + ReLU + dropout → classifier → ×2 bilinear
      (selection network).

    Classifiers compute in float32: bfloat16 logits have too few bits to threshold softmax probabilities at 0.968.
    """

    num_classes: int
    kind: str = "classifier"
    features: int = 64  # of the projection and of the 3×3 convolution
    intermediate: bool = False  # adds a classifier on the features that the distillation exchanges
    dropout: float = 0.5
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    batch_axis: str | None = None  # over which the batch is split, see Dropout

    def setup(self):
        self.classifier = Conv(self.num_classes, (1, 1), dtype=jnp.float32)
        if self.intermediate:
            self.intermediate_classifier = Conv(self.num_classes, (1, 1), dtype=jnp.float32)
        if self.kind != "classifier":
            self.projection = Conv(self.features, (1, 1), use_bias=False, dtype=self.dtype)
        if self.kind == "half_resolution":
            # No bias, as in the release: the norm would cancel it.
            self.conv = Conv(self.features, (3, 3), padding=1, use_bias=False, dtype=self.dtype)
            self.norm = batch_norm(self.dtype, self.axis_name)
            self.drop = Dropout(self.dropout, self.batch_axis)

    def __call__(self, x, train: bool):
        """[B, H, W, C] → logits [B, H, W, num_classes] ('half_resolution': [B, 2H, 2W, num_classes]), float32."""
        if self.kind != "classifier":
            x = self.projection(x)
        if self.kind == "half_resolution":
            x = nn.relu(self.norm(self.conv(x), use_running_average=not train))
            x = self.drop(x, train)
        logits = self.classifier(x.astype(jnp.float32))
        if self.kind == "half_resolution":
            logits = resize_bilinear(logits, (2 * logits.shape[1], 2 * logits.shape[2]))
        return logits

    def intermediate_logits(self, x):
        """[B, H, W, C] → logits [B, H, W, num_classes], float32."""
        return self.intermediate_classifier(x.astype(jnp.float32))


class SegmentationDecoder(TaskDecoder):
    """Decoder with the segmentation heads that `make_heads` builds."""

    make_heads: Callable[[], SegmentationHeads]

    def setup(self):
        self.blocks = self.make_blocks()
        self.heads = self.make_heads()

    def logits(self, outputs, train: bool):
        """Returns the final logits, from the finest block's output."""
        return self.heads(outputs[min(outputs)], train)

    def intermediate_logits(self, x):
        """Returns logits of the features before the exchange."""
        return self.heads.intermediate_logits(x)


class LinearSegmentation(nn.Module):
    """BatchNorm and a linear classifier on the encoder's last feature, without a decoder: how good the features are.

    The protocol of DINOv2's evaluation (Oquab et al. 2024). It has the functions of a SegmentationDecoder.
    """

    num_classes: int
    factor: int  # by which the logits are upsampled
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    def setup(self):
        self.norm = batch_norm(self.dtype, self.axis_name)
        self.classifier = Conv(self.num_classes, (1, 1), dtype=jnp.float32)

    def start(self, features, train: bool):
        """Returns the normalised last feature as the output of block 4."""
        return {4: self.norm(features[-1], use_running_average=not train)}

    def logits(self, outputs, train: bool):
        """Returns logits [B, factor * H, factor * W, num_classes], float32."""
        logits = self.classifier(outputs[4].astype(jnp.float32))
        return resize_bilinear(logits, (self.factor * logits.shape[1], self.factor * logits.shape[2]))
