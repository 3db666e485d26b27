"""The network of the paper: shared encoder, depth and segmentation decoder, PAD, ego-motion (sections 3.1–3.3)."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.models.decoder import DepthDecoder, UNetDecoder
from sdeseg_jax.models.layers import Dtype
from sdeseg_jax.models.pad_distillation import Distillation
from sdeseg_jax.models.pose import Pose, PoseNetwork
from sdeseg_jax.models.resnet import RESNETS, ResNet
from sdeseg_jax.models.segmentation import SEGMENTATION_HEADS, SegmentationDecoder, SegmentationHeads

# Decoder block after which the two decoders exchange features.
DISTILLATION_BLOCK = 2


@flax.struct.dataclass
class Predictions:
    """What the network says about a batch of images [B, H, W, 3]; None for what it has no part for.

    Attributes:
      disparities: four maps [B, H / 2^s, W / 2^s, 1], s = 0..3, float32 in (0, 1); see depth/ for depth in metres.
      logits: [B, H', W', num_classes] float32. Full resolution with `head_level` 0 and with the 'half_resolution'
        head (which resizes), half resolution with `head_level` 1.
      intermediate_logits: [B, H / 4, W / 4, num_classes] float32, before the distillation; only with it.
      bottleneck: [B, H / s, W / s, C] last encoder feature at output stride s, in the compute dtype.
      decoder_features: [B, H / 8, W / 8, C] output of block 3 of the depth decoder (of the segmentation decoder in
        a network without depth), in the compute dtype; the features of the data selection (section 3.2).
    """

    disparities: tuple[jax.Array, ...] | None
    logits: jax.Array | None
    intermediate_logits: jax.Array | None
    bottleneck: jax.Array
    decoder_features: jax.Array | None


@flax.struct.dataclass
class SharedFeatures:
    """What both tasks' predictions are made from: `Network.share` makes it, the rest of the network goes on from it.

    Attributes:
      encoder: five features, finest first, see ResNet.
      depth, segmentation: with distillation, outputs by block of each task's decoder, as far as the exchange.
      to_depth, to_segmentation: with distillation, what each decoder goes on with after the exchange.
    """

    encoder: tuple[jax.Array, ...]
    depth: dict[int, jax.Array] | None = None
    segmentation: dict[int, jax.Array] | None = None
    to_depth: jax.Array | None = None
    to_segmentation: jax.Array | None = None


class Network(nn.Module):
    """Images in, Predictions out. The parameter tree's top level: `encoder`, `depth_decoder`,
    `segmentation_decoder`, `distillation`, `pose`, as far as the network has them.

    Attributes:
      backbone: encoder, a key of RESNETS.
      width: multiplier on the encoder's channels.
      output_stride: 8, 16 or 32.
      decoder_channels: of decoder blocks 0 (full resolution) to 4.
      aspp_rates: dilations of the ASPP's 3×3 branches.
      dropout: rate after the ASPP and in the 'half_resolution' head.
      num_classes: of the segmentation.
      depth: predict disparities. Implied by `distillation`.
      segmentation: predict logits.
      distillation: PAD between the decoders after block 2; needs `segmentation`.
      segmentation_head: 'classifier' (multi-task), 'projection' (transfer) or 'half_resolution' (selection).
      head_level: finest decoder block: 0, or 1 to save the full resolution's cost; logits are then at half
        resolution, and the finest disparity is enlarged from there. The 'half_resolution' head sits on block 1 in
        any case.
      decoder_norm: BatchNorm in the decoder's convolutions (selection network).
      pose: predict ego-motion.
      pose_backbone: encoder of the pose network.
      pose_width: multiplier on the pose network's channels.
      pose_rotation_scale: factor on predicted rotations; below 1 slows them down against the translations.
      pose_translation_bias: constant added to predicted translations, a prior for training from scratch; keep it at
        zero with imported weights.
      disparity_bias: initial bias of the disparity heads.
      remat: recompute residual and decoder blocks in the backward pass: less memory, about a third more time.
      dtype: compute dtype, 'float32' or 'bfloat16'. Parameters, statistics, disparities, logits and poses are
        float32 in any case.
      axis_name: mapped axis over devices; None where there is none.
      sync_batch_norm: normalise with the statistics of all devices' batches, else with the device's own.

    Raises:
      ValueError: on construction, if a field has no valid value; when called, if the images have no valid shape.
    """

    backbone: str = "resnet101"
    width: float = 1.0
    output_stride: int = 16
    decoder_channels: tuple[int, ...] = (64, 128, 128, 256, 256)
    aspp_rates: tuple[int, ...] = (6, 12, 18)
    dropout: float = 0.5
    num_classes: int = 19
    depth: bool = True
    segmentation: bool = True
    distillation: bool = False
    segmentation_head: str = "classifier"
    head_level: int = 0
    decoder_norm: bool = False
    pose: bool = False
    pose_backbone: str = "resnet18"
    pose_width: float = 1.0
    pose_rotation_scale: float = 1.0
    pose_translation_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    disparity_bias: float = 0.0
    remat: bool = False
    dtype: Dtype = "float32"
    axis_name: str | None = None
    sync_batch_norm: bool = True

    def __post_init__(self):
        _check_fields(self)
        super().__post_init__()

    @property
    def has_depth(self) -> bool:
        """Whether there is a depth decoder."""
        return self.depth or self.distillation

    @property
    def last_segmentation_block(self) -> int:
        """Decoder block that the final segmentation head sits on."""
        return 1 if self.segmentation_head == "half_resolution" else self.head_level

    def setup(self):
        axis_name = self.axis_name if self.sync_batch_norm else None
        common = {"dtype": jnp.dtype(self.dtype), "axis_name": axis_name}
        # Fields and submodules share names (`pose`, `distillation`), hence attributes with other names and `name`.
        self.encoder_module = ResNet(
            self.backbone, self.width, self.output_stride, remat=self.remat, name="encoder", **common
        )
        make_blocks = functools.partial(
            UNetDecoder,
            tuple(self.decoder_channels),
            tuple(self.aspp_rates),
            self.dropout,
            norm=self.decoder_norm,
            remat=self.remat,
            batch_axis=self.axis_name,
            **common,
        )
        if self.has_depth:
            self.depth_module = DepthDecoder(
                functools.partial(make_blocks, last=self.head_level),
                self.disparity_bias,
                self.head_level,
                name="depth_decoder",
            )
        if self.segmentation:
            last = self.last_segmentation_block
            make_heads = functools.partial(
                SegmentationHeads,
                self.num_classes,
                self.segmentation_head,
                features=self.decoder_channels[last],
                intermediate=self.distillation,
                dropout=self.dropout,
                batch_axis=self.axis_name,
                **common,
            )
            self.segmentation_module = SegmentationDecoder(
                functools.partial(make_blocks, last=last), make_heads, name="segmentation_decoder"
            )
        if self.distillation:
            self.distillation_module = Distillation(common["dtype"], name="distillation")
        if self.pose:
            self.pose_module = PoseNetwork(
                self.pose_backbone,
                self.pose_width,
                self.pose_rotation_scale,
                tuple(self.pose_translation_bias),
                remat=self.remat,
                name="pose",
                **common,
            )

    def __call__(self, images, train: bool, freeze_encoder: bool = False) -> Predictions:
        """Predicts.

        Args:
          images: [B, H, W, 3] in [0, 1]; H and W multiples of `output_stride` and at least 32 pixels.
          train: use batch statistics and dropout (needs an rng 'dropout'), update running statistics (make
            'batch_stats' mutable).
          freeze_encoder: pass the encoder no gradients. Its BatchNorm works as without: what learns on its features
            would otherwise see them normalised anew when it is unfrozen.

        Raises:
          ValueError: the images are no RGB batch or their size does not suit the output stride.
        """
        return self.predict(self.share(images, train, freeze_encoder), train)

    def share(self, images, train: bool, freeze_encoder: bool = False) -> SharedFeatures:
        """Runs what both tasks share, see `__call__`: the encoder and, with distillation, the decoders' coarse half."""
        _check_images(images, self.output_stride)
        features = self.encoder_module(images, train)
        if freeze_encoder:
            features = jax.lax.stop_gradient(features)
        if not self.distillation:
            return SharedFeatures(features)
        depth = self.depth_module.start(features, train, DISTILLATION_BLOCK)
        segmentation = self.segmentation_module.start(features, train, DISTILLATION_BLOCK)
        exchanged = self.distillation_module(depth[DISTILLATION_BLOCK], segmentation[DISTILLATION_BLOCK])
        return SharedFeatures(features, depth, segmentation, *exchanged)

    def predict(
        self, shared: SharedFeatures, train: bool, depth: bool = True, segmentation: bool = True
    ) -> Predictions:
        """Goes on from `share`; what is not asked for (or what the network has no part for) is None."""
        disparities = logits = intermediate_logits = None
        depth, segmentation = depth and self.has_depth, segmentation and self.segmentation
        depth_blocks, segmentation_blocks = shared.depth, shared.segmentation
        if self.distillation and segmentation:
            intermediate_logits = self.segmentation_module.intermediate_logits(segmentation_blocks[DISTILLATION_BLOCK])
        if depth:
            # The disparity head of the exchange's scale sits before it, like the intermediate segmentation head.
            depth_blocks = self._finish(self.depth_module, depth_blocks, shared.to_depth, shared, train)
            disparities = self.depth_module.disparity(depth_blocks)
        if segmentation:
            segmentation_blocks = self._finish(
                self.segmentation_module, segmentation_blocks, shared.to_segmentation, shared, train
            )
            logits = self.segmentation_module.logits(segmentation_blocks, train)
        blocks = depth_blocks if depth_blocks is not None else segmentation_blocks
        return Predictions(
            disparities=disparities,
            logits=logits,
            intermediate_logits=intermediate_logits,
            bottleneck=shared.encoder[-1],
            decoder_features=blocks[3] if blocks is not None else None,
        )

    def _finish(self, decoder, blocks, exchanged, shared: SharedFeatures, train: bool) -> dict[int, jax.Array]:
        if blocks is None:
            return decoder.start(shared.encoder, train)
        return decoder.resume(blocks, exchanged, shared.encoder, train, DISTILLATION_BLOCK - 1)

    def predict_pose(self, first, second, train: bool) -> Pose:
        """Camera motion between two frames.

        Args:
          first: [B, H, W, 3] in [0, 1], the earlier frame.
          second: the later frame. The motion towards an earlier frame is the inverse of the pose predicted in
            temporal order, never a prediction with the frames swapped.
          train: use batch statistics and update the running ones.

        Raises:
          ValueError: the network has no pose part, or the frames are no RGB batches of the same shape.
        """
        if not self.pose:
            raise ValueError("this network was built with pose=False")
        _check_images(first, 1)
        if first.shape != second.shape:
            raise ValueError(f"the frames of a pair differ in shape: {first.shape} and {second.shape}")
        return self.pose_module(first, second, train)

    def init_all(self, images, train: bool = False):
        """Runs every part once: `network.init(rng, images, method='init_all')` makes all parameters."""
        predictions = self(images, train)
        return predictions, self.predict_pose(images, images, train) if self.pose else None


def _check_choice(field: str, value: str, options) -> None:
    if value not in options:
        raise ValueError(f"{field}={value!r} is unknown{nearest(str(value), options)}")


def _check_fields(network: Network) -> None:
    _check_choice("backbone", network.backbone, RESNETS)
    _check_choice("pose_backbone", network.pose_backbone, RESNETS)
    _check_choice("segmentation_head", network.segmentation_head, SEGMENTATION_HEADS)
    dtype = network.dtype if isinstance(network.dtype, str) else jnp.dtype(network.dtype).name
    _check_choice("dtype", dtype, ("float32", "bfloat16"))
    if network.output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride={network.output_stride} is not possible; valid: 8, 16, 32")
    if len(network.decoder_channels) != 5:
        raise ValueError(f"decoder_channels={network.decoder_channels} must have 5 entries, for blocks 0..4")
    if network.head_level not in (0, 1):
        raise ValueError(f"head_level={network.head_level} is not possible; valid: 0, 1")
    if network.distillation and not network.segmentation:
        raise ValueError("distillation=True exchanges features between two decoders and needs segmentation=True")
    if network.width <= 0 or network.pose_width <= 0:
        raise ValueError(f"width={network.width} and pose_width={network.pose_width} must be positive")


def _check_images(images, multiple: int) -> None:
    if images.ndim != 4 or images.shape[-1] != 3:
        hint = "; repeat grey images three times on the channel axis" if images.shape[-1] == 1 else ""
        raise ValueError(f"images must be [B, H, W, 3], got {tuple(images.shape)}{hint}")
    height, width = images.shape[1:3]
    if height % multiple or width % multiple or min(height, width) < 32:
        fitting = tuple(max(32, -(-side // multiple) * multiple) for side in (height, width))
        raise ValueError(
            f"images of {height}×{width} pixels: the sides must be multiples of the output stride {multiple} and at "
            f"least 32; the next larger valid size is {fitting[0]}×{fitting[1]}"
        )


def build_network(model_config: Mapping[str, Any], **overrides: Any) -> Network:
    """Network from a config (an ml_collections ConfigDict, a dict, …) whose keys are Network's fields.

    Args:
      model_config: fields and values; what it leaves out has Network's default.
      **overrides: fields that the caller knows better, e.g. `axis_name`.

    Raises:
      ValueError: a key is no field of Network, or a value is not valid.
    """
    names = {field.name for field in dataclasses.fields(Network)} - {"parent", "name"}
    values = {**dict(model_config.items()), **overrides}
    for key in values:
        if key not in names:
            raise ValueError(f"unknown model field {key!r}{nearest(key, names)}")
    return Network(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
