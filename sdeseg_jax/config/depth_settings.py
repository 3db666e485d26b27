"""Settings of the networks, their first weights, and the training of depth (Sec. 3.1, 4.2)."""

from sdeseg_jax.config.setting import BATCH, CHANNELS, COUNT, COUNT_OR_NONE, METRES, RATE, WEIGHT, Setting, section
from sdeseg_jax.config.stage_names import DEPTH as DEPTH_STAGES
from sdeseg_jax.config.stage_names import NETWORKS

BACKBONES = ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101")
BACKBONES += ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
TRANSFORMERS = tuple(
    f"{family}_{size}{kind}"
    for family, kind in (("dinov2", ""), ("dinov2", "_registers"), ("dinov3", ""))
    for size in ("small", "base", "large")
)
"""The keys of models.encoders.ENCODERS; the settings are read without the networks."""
POSE_BACKBONES = tuple(name for name in BACKBONES if name != "resnet101")
BACKBONES += TRANSFORMERS
RULES = ("none", "linear", "sqrt")
SCHEDULES = ("step", "cosine", "poly")
_MULTIPLIER = (1 / 64, 64.0)

MODEL = section(
    "model", NETWORKS,
    Setting("backbone", "resnet101", "Encoder.", choices=BACKBONES),
    Setting("width", 1.0, "Multiplier of the encoder's channels.", _MULTIPLIER),
    Setting("output_stride", 16, "Stride of the encoder's deepest features.", choices=(8, 16, 32)),
    Setting(
        "decoder_channels", (64, 128, 128, 256, 256), "Channels of the decoders' blocks 0 to 4; block 0 is the finest.",
        CHANNELS, lengths=(5,),
    ),
    Setting(
        "decoder_norm", False, "BatchNorm in the decoders; the paper has it in the slim network of the data selection "
        "alone.",
    ),
    Setting(
        "drop_path", 0.0, "Rate at which samples skip blocks of a Vision Transformer in training (stochastic depth).",
        (0, 0.99),
    ),
    Setting("aspp_rates", (6, 12, 18), "Dilation rates of ASPP.", (1, 1024), may_be_empty=False),
    Setting("dropout", 0.5, "Dropout rate in the segmentation head.", (0, 0.99)),
    Setting(
        "head_level", 0, "Finest decoder block: 0 predicts at full resolution, 1 at half, for small machines.",
        choices=(0, 1),
    ),
    Setting("pose_backbone", "resnet18", "Encoder of the pose network.", choices=POSE_BACKBONES),
    Setting("pose_width", 1.0, "Multiplier of the pose network's channels.", _MULTIPLIER),
    Setting(
        "dtype", "float32", "Type that networks compute in. Parameters, geometry, losses and statistics are float32 "
        "always.", choices=("float32", "bfloat16"),
    ),
    Setting(
        "remat", False, "Recompute activations in the backward pass: less memory, about a third more time.",
    ),
    Setting("sync_batch_norm", True, "Batch statistics over all devices, instead of each device's own."),
    # The forward-motion prior, for training from random weights, where self-supervised depth tends to fall into false
    # minima. Not in the paper: off with pretrained weights.
    Setting(
        "disparity_bias", 0.0, "Bias of the disparity output at the start. Part of the forward-motion prior, for "
        "random weights; 0 is off.", (-50.0, 50.0),
    ),
    Setting(
        "pose_rotation_scale", 1.0, "Factor of predicted rotations. Part of the forward-motion prior; 1 is off.",
        (-1000.0, 1000.0),
    ),
    Setting(
        "pose_translation_bias", (0.0, 0.0, 0.0), "Translation x, y, z added to predicted ones. Part of the "
        "forward-motion prior; zeros are off.", (-1000.0, 1000.0), lengths=(3,),
    ),
)  # fmt: skip

_FOLDER = "Checkpoint folder, as sdeseg import-weights writes it, to take {} from. Empty: random weights."
_SOURCE = (
    "First weights of {}: pretrained (published ones), a name of sdeseg import-weights --list, hf:owner/name, a file, "
    "or a checkpoint folder. Empty: random weights."
)

INIT = section(
    "init", NETWORKS,
    Setting("encoder", "", _SOURCE.format("the encoder"), is_path=True),
    Setting("depth_decoder", "", _FOLDER.format("the depth decoder"), is_path=True),
    Setting("pose", "", _SOURCE.format("the pose network"), is_path=True),
    Setting("segmentation_decoder", "", _FOLDER.format("the segmentation decoder"), is_path=True),
    Setting("distillation", "", _FOLDER.format("the attention-guided distillation"), is_path=True),
)  # fmt: skip

DEPTH = section(
    "depth", NETWORKS,
    Setting(
        "supervision", "self", "What depth is learned from: self: from video; depth: from the dataset's own depth "
        "(Table 9).", choices=("self", "depth"),
    ),
    Setting(
        "workdir", "", "Another run's workdir, whose depth network is used instead of training one here: its folder "
        "depth.", is_path=True,
    ),
    Setting("batch_size", 4, "Images per step, all devices together.", BATCH),
    Setting("steps", 350_000, "Steps of the training.", COUNT),
    Setting(
        "frozen_steps", 300_000, "Steps of phase 1, with the encoder's first weights; its BatchNorm statistics adapt.",
        COUNT_OR_NONE,
    ),
    Setting("learning_rate", 1e-4, "Learning rate of decoder and pose network.", RATE),
    Setting("encoder_learning_rate", 1e-4, "Learning rate of the encoder in phase 2.", RATE),
    Setting(
        "learning_rate_rule", "none", "How rates grow with batch_size / reference_batch_size.", choices=RULES,
    ),
    Setting("reference_batch_size", 4, "Batch size that the rates are meant for.", BATCH),
    Setting("schedule", "step", "Course of the learning rates.", choices=SCHEDULES),
    Setting(
        "decay_steps", (160_000,), "Steps at which schedule step multiplies the rates by decay_factor.", COUNT_OR_NONE,
    ),
    Setting("decay_factor", 0.1, "Factor of the rates at each of decay_steps.", (0, 10.0)),
    Setting(
        "feature_distance_weight", 1e-2, "Weight lambda_F of the feature distance in phase 2 (Eq. 6), per batch of "
        "reference_batch_size.", WEIGHT,
    ),
    Setting("min_depth", 0.1, "Smallest depth that disparity can stand for.", METRES),
    Setting("max_depth", 100.0, "Largest depth that disparity can stand for.", METRES),
    Setting("smoothness_weight", 1e-3, "Weight of the edge-aware smoothness.", WEIGHT),
    Setting("automask", True, "Leave out pixels that do not change without warping."),
    Setting("scales", 4, "Scales of disparity that the loss is computed at.", (1, 4)),
    Setting("color_jitter", True, "Change brightness, contrast, saturation and hue of the images that networks see."),
)  # fmt: skip

ESTIMATE = section(
    "estimate", DEPTH_STAGES[1::2],
    Setting(
        "workdir", "", "Another run's workdir, whose disparity is used instead of estimating it here: its folder "
        "disparity.", is_path=True, stages=("estimate_depth", *NETWORKS[4:]), recorded_by=NETWORKS[4:],
    ),
    Setting("batch_size", 8, "Images per step, all devices together.", BATCH, recorded_by=()),
)  # fmt: skip
