"""What config files share: the paper's defaults and the parsing of arguments after the colon."""

from sdeseg_jax.config import ConfigError, default_config
from sdeseg_jax.names import nearest

__all__ = ["choose_method", "choose_size", "default_config", "parse_arguments", "small_network"]


def parse_arguments(argument: str | None, **defaults):
    """Parses 'labels=12,mix=none,baseline' into a copy of `defaults`.

    A bare name sets a boolean; values take the type of their default.

    Raises:
      ConfigError: an argument is unknown (the nearest valid name is given) or its value has the wrong type.
    """
    values = dict(defaults)
    for item in filter(None, (argument or "").split(",")):
        name, equals, text = item.partition("=")
        if name not in defaults:
            raise ConfigError(f"config argument '{name}' is unknown{nearest(name, defaults)}")
        kind = type(defaults[name])
        try:
            values[name] = {"": True, "true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError) as error:
            raise ConfigError(f"config argument '{item}' should be {name}=<{kind.__name__}>") from error
        if not equals and kind is not bool:
            raise ConfigError(f"config argument '{name}' needs a value: {name}=<{kind.__name__}>")
    return values


def choose_size(size: str) -> str:
    """Returns `size` if it is "full" or "small".

    Raises:
      ConfigError: it is neither.
    """
    if size not in ("full", "small"):
        raise ConfigError(f"config argument size={size}; valid: full, small")
    return size


MIXES = ("supervised", "none", "class", "cut", "depth")
DEPTHS = ("none", "transfer", "feature_distance", "supervised")


def choose_method(config, mix: str, depth: str, multitask: bool) -> None:
    """Sets what a row of the paper's tables is about, and nothing else.

    Args:
      mix: "supervised" (no unlabelled images), "none" (pseudo-labels without mixing), "class", "cut" or "depth".
      depth: what the depth network gives the segmentation network: "none" (both decoders start anew), "transfer" (the
        weights), "feature_distance" (the same, learned with the feature distance to ImageNet's encoder), "supervised"
        (the weights of a network that learned from known depth). DepthMix takes its disparity from it in any case.
      multitask: whether depth is co-trained (PAD). DepthMix then mixes by the student's own disparity.

    Raises:
      ConfigError: there is no such mix or depth; the nearest valid name is given.
    """
    for name, value, valid in (("mix", mix, MIXES), ("depth", depth, DEPTHS)):
        if value not in valid:
            raise ConfigError(f"config argument {name}={value} is unknown{nearest(value, valid)}")
    segmentation = config.segmentation
    segmentation.pseudo_labels = mix != "supervised"
    segmentation.mix = "none" if mix == "supervised" else mix
    segmentation.multitask = multitask
    segmentation.mix_disparity = "online" if multitask else "precomputed"
    segmentation.init_encoder = segmentation.init_decoder = "scratch" if depth == "none" else "depth"
    if depth != "feature_distance":
        config.depth.feature_distance_weight = 0.0
    if depth == "supervised":
        config.depth.supervision = "depth"
    stored = mix == "depth" and not multitask
    unneeded = {
        *(() if stored or depth != "none" else ("pretrain_depth",)),
        *(() if stored else ("estimate_depth",)),
    }
    config.pipeline.stages = tuple(stage for stage in config.pipeline.stages if stage not in unneeded)


def small_network(config) -> None:
    """Changes a config to networks and a depth schedule for a laptop's CPU, trained from random weights.

    1.1 million parameters in encoder and depth decoder, predictions at half resolution.
    """
    model, depth = config.model, config.depth
    model.backbone = "resnet18"
    model.width = 0.25
    model.decoder_channels = (16, 16, 32, 48, 64)
    model.decoder_norm = True  # without it the decoders learn about half as fast from random weights
    model.aspp_rates = (1, 2, 3)
    model.dropout = 0.1
    model.head_level = 1
    model.pose_width = 0.25
    # The forward-motion prior: there are no pretrained weights to start from.
    model.disparity_bias = -1.5
    model.pose_rotation_scale = 0.1
    model.pose_translation_bias = (0.0, 0.0, -0.03)

    depth.batch_size = 4
    depth.steps = 1000
    depth.frozen_steps = 0
    depth.feature_distance_weight = 0.0
    depth.learning_rate = 6e-4
    depth.encoder_learning_rate = 6e-4
    depth.schedule = "cosine"
    depth.color_jitter = False
    depth.scales = 1

    segmentation = config.segmentation
    segmentation.batch_size = 2
    segmentation.head = "classifier"
    segmentation.steps = 1000
    segmentation.optimizer = "adam"
    segmentation.learning_rate = 1e-3
    segmentation.pretrained_learning_rate = 1e-3
    segmentation.schedule = "cosine"
    segmentation.class_weights = "sqrt_inverse_frequency"

    config.evaluation.batch_size = 4
    config.runtime.checkpoint_every = 500
