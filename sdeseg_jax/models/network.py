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
from sdeseg_jax.models.encoders import ENCODERS, make_encoder
from sdeseg_jax.models.layers import Dtype
from sdeseg_jax.models.pad_distillation import Distillation
from sdeseg_jax.models.pose import Pose, PoseNetwork
from sdeseg_jax.models.segmentation import (
    SEGMENTATION_HEADS,
    LinearSegmentation,
    SegmentationDecoder,
    SegmentationHeads,
)

# Decoder block after which the two decoders exchange features.
DISTILLATION_BLOCK = 2


@flax.struct.dataclass
class Predictions:
    """Predictions for a batch of images [B, H, W, 3]; None where the network lacks the part.

    Attributes:
      disparities: four maps [B, H / 2^s, W / 2^s, 1], s = 0..3, float32 in (0, 1); see depth/ for depth in metres.
      logits: [B, H', W', num_classes] float32. Full resolution with `head_level` 0 and with the 'half_resolution'
        head (which resizes), half resolution with `head_level` 1.
      intermediate_logits: [B, H / 4, W / 4, num_classes] float32, before the distillation; only with it.
      bottleneck: [B, H / s, W / s, C] last encoder feature at output stride s, in the compute dtype.
      decoder_features: [B, H / 8, W / 8, C] output of block 3 of the depth decoder (without depth: of the segmentation
        decoder; None with a linear head), in the compute dtype; the features of the data selection (section 3.2).
    """

    disparities: tuple[jax.Array, ...] | None
    logits: jax.Array | None
    intermediate_logits: jax.Array | None
    bottleneck: jax.Array
    decoder_features: jax.Array | None


@flax.struct.dataclass
class SharedFeatures:
    """Features that both tasks predict from, see `Network.share` and `Network.predict`.

    Attributes:
      encoder: five features, finest first, see Encoder.
      depth, segmentation: with distillation, outputs by block of each task's decoder, up to the exchange.
      to_depth, to_segmentation: with distillation, input of each decoder's next block, after the exchange.
    """

    encoder: tuple[jax.Array, ...]
    depth: dict[int, jax.Array] | None = None
    segmentation: dict[int, jax.Array] | None = None
    to_depth: jax.Array | None = None
    to_segmentation: jax.Array | None = None


class Network(nn.Module):
    """Images in, Predictions out.

    Top level of the parameter tree, as far as the network has these parts: `encoder`, `depth_decoder`,
    `segmentation_decoder`, `distillation`, `pose`.

    Attributes:
      backbone: encoder, a key of ENCODERS.
      width: multiplier on the encoder's channels.
      output_stride: 8, 16 or 32.
      decoder_channels: of decoder blocks 0 (full resolution) to 4.
      aspp_rates: dilations of the ASPP's 3×3 branches.
      dropout: rate after the ASPP and in the 'half_resolution' head.
      num_classes: of the segmentation.
      depth: whether to predict disparities; implied by `distillation`.
      segmentation: whether to predict logits.
      distillation: PAD between the decoders after block 2; needs `segmentation`.
      segmentation_head: 'classifier' (multi-task), 'projection' (transfer), 'half_resolution' (selection), or 'linear'
        (without a decoder, on the encoder's last feature).
      drop_path: rate at which samples skip blocks of a Vision Transformer while it is trained.
      head_level: finest decoder block: 0, or 1 to save the cost of full resolution: logits then have half resolution,
        and the finest disparity is upsampled from it. The 'half_resolution' head always uses block 1.
      decoder_norm: BatchNorm in the decoder's convolutions (selection network).
      pose: whether to predict ego-motion.
      pose_backbone: encoder of the pose network, one that takes pairs of frames.
      pose_width: multiplier on the pose network's channels.
      pose_rotation_scale: factor on predicted rotations; below 1 they change more slowly than translations.
      pose_translation_bias: constant added to predicted translations, a prior for training from scratch; keep it at
        zero with imported weights.
      disparity_bias: initial bias of the disparity heads.
      remat: recompute residual and decoder blocks in the backward pass: less memory, about a third more time.
      dtype: compute dtype, 'float32' or 'bfloat16'. Parameters, statistics, disparities, logits and poses are always
        float32.
      axis_name: mapped axis over devices, or None.
      sync_batch_norm: normalise with the statistics of all devices' batches, else with the device's own.

    Raises:
      ValueError: on construction, a field is not valid; when called, the shape of the images is not valid.
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
    drop_path: float = 0.0
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
        blocks_common = {"remat": self.remat, **common}
        # Attributes differ from the parameters' names because `pose` and `distillation` are fields, too.
        self.encoder_module = make_encoder(
            self.backbone,
            self.drop_path,
            self.axis_name,
            width=self.width,
            output_stride=self.output_stride,
            name="encoder",
            **blocks_common,
        )
        make_blocks = functools.partial(
            UNetDecoder,
            tuple(self.decoder_channels),
            tuple(self.aspp_rates),
            self.dropout,
            norm=self.decoder_norm,
            batch_axis=self.axis_name,
            **blocks_common,
        )
        if self.has_depth:
            blocks = functools.partial(make_blocks, last=self.head_level)
            self.depth_module = DepthDecoder(blocks, self.disparity_bias, self.head_level, name="depth_decoder")
        if self.segmentation and self.segmentation_head == "linear":
            factor = self.output_stride // 2**self.head_level
            self.segmentation_module = LinearSegmentation(
                self.num_classes, factor, **common, name="segmentation_decoder"
            )
        elif self.segmentation:
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
            blocks = functools.partial(make_blocks, last=last)
            self.segmentation_module = SegmentationDecoder(blocks, make_heads, name="segmentation_decoder")
        if self.distillation:
            self.distillation_module = Distillation(common["dtype"], name="distillation")
        if self.pose:
            self.pose_module = PoseNetwork(
                self.pose_backbone,
                self.pose_width,
                self.pose_rotation_scale,
                tuple(self.pose_translation_bias),
                name="pose",
                **blocks_common,
            )

    def __call__(self, images, train: bool, freeze_encoder: bool = False) -> Predictions:
        """Returns the predictions for a batch.

        Args:
          images: [B, H, W, 3] in [0, 1]; H and W multiples of `output_stride` and at least 32 pixels.
          train: use batch statistics and dropout (needs an rng 'dropout'), update running statistics (make
            'batch_stats' mutable).
          freeze_encoder: pass no gradients to the encoder, but to a Vision Transformer's reassembly. BatchNorm still
            uses batch statistics: otherwise, the features that the other parts learned from would change when it is
            unfrozen.

        Raises:
          ValueError: the images are not an RGB batch, or their size does not suit the output stride.
        """
        return self.predict(self.share(images, train, freeze_encoder), train)

    def share(self, images, train: bool, freeze_encoder: bool = False) -> SharedFeatures:
        """Runs the parts that both tasks share: the encoder and, with distillation, the decoders up to the exchange."""
        _check_images(images, self.output_stride)
        features = self.encoder_module(images, train, freeze_encoder)
        if not self.distillation:
            return SharedFeatures(features)
        depth = self.depth_module.start(features, train, DISTILLATION_BLOCK)
        segmentation = self.segmentation_module.start(features, train, DISTILLATION_BLOCK)
        exchanged = self.distillation_module(depth[DISTILLATION_BLOCK], segmentation[DISTILLATION_BLOCK])
        return SharedFeatures(features, depth, segmentation, *exchanged)

    def predict(
        self, shared: SharedFeatures, train: bool, depth: bool = True, segmentation: bool = True
    ) -> Predictions:
        """Returns the predictions for the result of `share`; None where not asked for or the network lacks the part."""
        disparities = logits = intermediate_logits = None
        depth, segmentation = depth and self.has_depth, segmentation and self.segmentation
        depth_blocks, segmentation_blocks = shared.depth, shared.segmentation
        if self.distillation and segmentation:
            intermediate_logits = self.segmentation_module.intermediate_logits(segmentation_blocks[DISTILLATION_BLOCK])
        if depth:
            # The disparity head of the exchange's scale uses the features before it, like the intermediate classifier.
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
            decoder_features=blocks.get(3) if blocks is not None else None,
        )

    def _finish(self, decoder, blocks, exchanged, shared: SharedFeatures, train: bool) -> dict[int, jax.Array]:
        if blocks is None:
            return decoder.start(shared.encoder, train)
        return decoder.resume(blocks, exchanged, shared.encoder, train, DISTILLATION_BLOCK - 1)

    def predict_pose(self, first, second, train: bool) -> Pose:
        """Returns the camera motion between two frames.

        Args:
          first: [B, H, W, 3] in [0, 1], the earlier frame.
          second: the later frame. For the motion to an earlier frame, invert the pose; do not swap the frames.
          train: use batch statistics and update the running ones.

        Raises:
          ValueError: the network has no pose part, or the frames are not RGB batches of the same shape.
        """
        if not self.pose:
            raise ValueError("cannot predict ego-motion: the network was built with pose=False")
        _check_images(first, 1)
        if first.shape != second.shape:
            raise ValueError(f"the frames of a pair must have the same shape, got {first.shape} and {second.shape}")
        return self.pose_module(first, second, train)

    def init_all(self, images, train: bool = False):
        """Runs every part once: `network.init(rng, images, method='init_all')` makes all parameters."""
        predictions = self(images, train)
        return predictions, self.predict_pose(images, images, train) if self.pose else None


def _check_choice(field: str, value: str, options) -> None:
    if value not in options:
        raise ValueError(f"{field}={value!r} is unknown{nearest(str(value), options)}")


def _check_fields(network: Network) -> None:
    _check_choice("backbone", network.backbone, ENCODERS)
    _check_choice("pose_backbone", network.pose_backbone, [name for name, one in ENCODERS.items() if one.takes_pairs])
    _check_choice("segmentation_head", network.segmentation_head, SEGMENTATION_HEADS)
    dtype = network.dtype if isinstance(network.dtype, str) else jnp.dtype(network.dtype).name
    _check_choice("dtype", dtype, ("float32", "bfloat16"))
    if network.output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride={network.output_stride} must be 8, 16 or 32")
    if len(network.decoder_channels) != 5:
        raise ValueError(f"decoder_channels={network.decoder_channels} must have 5 entries, for blocks 0..4")
    if network.segmentation_head == "linear" and network.distillation:
        raise ValueError("segmentation_head='linear' has no decoder, which distillation=True exchanges features of")
    if network.drop_path and not ENCODERS[network.backbone].drops_paths:
        raise ValueError(f"drop_path={network.drop_path} is for Vision Transformers, but backbone={network.backbone!r}")
    if network.head_level not in (0, 1):
        raise ValueError(f"head_level={network.head_level} must be 0 or 1")
    if network.distillation and not network.segmentation:
        raise ValueError("distillation=True needs segmentation=True: it exchanges features between two decoders")
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
    """Returns a Network from a config (an ml_collections ConfigDict, a dict, …) whose keys are Network's fields.

    Args:
      model_config: fields and values; others have Network's defaults.
      **overrides: fields that the caller sets, e.g. `axis_name`.

    Raises:
      ValueError: a key is not a field of Network, or a value is not valid.
    """
    names = {field.name for field in dataclasses.fields(Network)} - {"parent", "name"}
    values = {**dict(model_config.items()), **overrides}
    for key in values:
        if key not in names:
            raise ValueError(f"unknown model field {key!r}{nearest(key, names)}")
    return Network(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
