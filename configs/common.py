"""What config files share: arguments after the colon, what they switch, and networks for a laptop's CPU."""

from collections.abc import Collection

from sdeseg_jax.config import SETTINGS, STAGES, UserError, needs_disparity, needs_source_disparity
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.selection.annotation_schedule import METHODS, schedule_up_to


def parse_arguments(argument: str | None, **defaults):
    """Parses 'labels=12,mix=none,baseline' into a copy of `defaults`.

    A bare name sets a boolean; values take the type of their default.

    Raises:
      UserError: an argument is unknown (the message suggests the nearest valid name) or its value has the wrong type.
    """
    values = dict(defaults)
    for item in filter(None, (argument or "").split(",")):
        name, equals, text = item.partition("=")
        if name not in defaults:
            raise UserError(f"config argument '{name}' is unknown{nearest(name, defaults)}")
        kind = type(defaults[name])
        try:
            values[name] = {"": True, "true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError) as error:
            valid = " (true or false)" if kind is bool else ""
            raise UserError(f"config argument '{item}' should be {name}=<{kind.__name__}>{valid}") from error
        if not equals and kind is not bool:
            raise UserError(f"config argument '{name}' needs a value: {name}=<{kind.__name__}>")
    return values


def check_argument(name: str, value: str, valid: Collection[str]) -> None:
    """Raises UserError, which suggests the nearest valid value, if the value of an argument is not valid."""
    if value not in valid:
        raise UserError(f"config argument {name}={value} is unknown{nearest(value, valid)}")


SIZES = ("full", "small")
MIXES = ("supervised", "none", "class", "cut", "depth")
DEPTHS = ("none", "transfer", "feature_distance", "supervised")
DISPARITIES = ("auto", "stored", "online")


ADAPTATION = {"source": True, "cross": "auto", "matching": "auto"}
"""Arguments of `choose_adaptation` with their defaults."""


def choose_method(config, mix: str, depth: str, multitask: bool, disparity: str = "auto") -> None:
    """Sets what a row of the paper's tables varies, and nothing else.

    Args:
      mix: "supervised" (no unlabelled images), "none" (pseudo-labels without mixing), "class", "cut" or "depth".
      depth: what the segmentation network starts from: "none" (no depth network), "transfer" (the weights of the depth
        network), "feature_distance" (the same, trained with the feature distance to ImageNet's encoder), "supervised"
        (the weights of a network trained on known depth). DepthMix uses the depth network's disparity in any case.
      multitask: whether depth is co-trained (PAD).
      disparity: what DepthMix mixes by: "stored", from the depth network; "online", the student's own; "auto", the
        student's own if depth is co-trained.

    Raises:
      UserError: a value is unknown, or the student's disparity is asked for although depth is not co-trained.
    """
    check_argument("mix", mix, MIXES)
    check_argument("depth", depth, DEPTHS)
    check_argument("disparity", disparity, DISPARITIES)
    if disparity == "online" and not multitask:
        raise UserError("config argument disparity=online: the student predicts disparity only with multitask=true")
    online = multitask and disparity != "stored"
    segmentation = config.segmentation
    segmentation.pseudo_labels = mix != "supervised"
    segmentation.mix = "none" if mix == "supervised" else mix
    segmentation.multitask = multitask
    segmentation.mix_disparity = "online" if online else "precomputed"
    segmentation.init_encoder = segmentation.init_decoder = "scratch" if depth == "none" else "depth"
    if depth != "feature_distance":
        config.depth.feature_distance_weight = 0.0
    if depth == "supervised":
        config.depth.supervision = "depth"
    stored = mix == "depth" and not online
    unneeded = set() if stored else {"estimate_depth"}
    if not stored and depth == "none":
        unneeded.add("pretrain_depth")
    config.pipeline.stages = tuple(stage for stage in config.pipeline.stages if stage not in unneeded)


def choose_adaptation(config, name: str, source: bool, cross: str, matching: str) -> None:
    """Sets what a row of the domain-adaptation tables varies (Sec. 3.5). Call it after `choose_method`.

    Args:
      name: of the source dataset.
      source: whether source labels are used at all; otherwise the run uses the target alone.
      cross: how source images are mixed into target images: "depth" (Cross-Domain DepthMix), "class" (DACS), "cut" or
        "none"; "auto" is "depth" if there is a source.
      matching: "true" or "false": whether source frames are chosen by their geometry, from five candidates each;
        "auto" is "true" if they are mixed in.

    Raises:
      UserError: a value is unknown, or there is nothing to match or mix with.
    """
    check_argument("cross", cross, ("auto", *SETTINGS["segmentation.cross_mix"].choices))
    check_argument("matching", matching, ("auto", "true", "false"))
    if cross == "auto":
        cross = "depth" if source else "none"
    if matching == "auto":
        matching = "false" if cross == "none" else "true"
    if cross != "none" and not source:
        raise UserError(f"config argument cross={cross} mixes with source images, which source=false leaves out")
    if matching == "true" and cross == "none":
        raise UserError("config argument matching=true chooses source images to mix with, but none are mixed in")
    config.source.name = name if source else ""
    config.source.n_candidates = 5 if matching == "true" else 1
    if not source:
        config.source.video.name = ""
    config.segmentation.cross_mix = cross
    config.segmentation.mix_disparity = "precomputed"  # in both domains, even with multi-task learning
    needed = set(config.pipeline.stages)
    if needs_disparity(config):
        needed |= {"pretrain_depth", "estimate_depth"}
    if needs_source_disparity(config):
        needed |= {"pretrain_source_depth", "estimate_source_depth"}
    config.pipeline.stages = tuple(stage for stage in STAGES if stage in needed)


def choose_selection(config, selection: str) -> None:
    """Sets how the labelled frames are chosen. Call it after `choose_method`, to whose stages it adds.

    Args:
      selection: "by_seed" (drawn, without a stage of its own), or a method of `select_labels`: "random" (the same
        frames), "entropy", "diversity", "uncertainty" or "ds_us". The schedule then ends at `config.data.labels`.

    Raises:
      UserError: the method is unknown, or all labels are used.
    """
    check_argument("selection", selection, ("by_seed", *SETTINGS["selection.method"].choices))
    if selection == "by_seed":
        return
    if not config.data.labels:
        raise UserError("config argument selection needs labels=N: labels=0 uses all labels, so nothing is selected")
    config.data.labels_from = "selection"
    config.selection.method = selection
    config.selection.schedule = schedule_up_to(config.data.labels, config.selection.schedule)
    add_selection_stages(config)


def add_selection_stages(config) -> None:
    """Adds `select_labels`, and the stages that it needs, to the pipeline."""
    method = METHODS[config.selection.method]
    needed = {"select_labels", *config.pipeline.stages}
    if method.coverage or method.first == "coverage":
        needed.add("pretrain_depth")
    if method.score == "student_error":
        needed |= {"pretrain_depth", "estimate_depth"}
    config.pipeline.stages = tuple(stage for stage in STAGES if stage in needed)


def small_network(config) -> None:
    """Sets networks and schedules for a laptop's CPU, trained from random weights.

    Encoder and depth decoder have 1.1 million parameters; predictions are at half resolution.
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
    # The forward-motion prior, as there are no pretrained weights to start from.
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
    # From trials of the baseline on Streets (16 labels, 600 steps, two seeds that no table uses): 3e-3 and 1e-2 score
    # alike. 1e-3 scored 11 points of mIoU less (one seed), and with a depth network's weights three times the steps did
    # not make up for it.
    segmentation.learning_rate = 3e-3
    segmentation.pretrained_learning_rate = 3e-3
    segmentation.pose_learning_rate = 3e-3
    segmentation.schedule = "cosine"
    # From random weights, networks rely on colours, and few steps do not teach them otherwise: with colour jitter, the
    # method scored 1.7 points less in a trial on Streets (one seed). On CamVid (100 labels, one seed), ClassMix and
    # pseudo-labels without mixing scored 6 to 7 points less than the baseline, and no trees.
    segmentation.strong_augmentation = False
    # From trials of DepthMix with co-trained depth on Streets (8 labels, two seeds that no table uses): 2.8 and 0.6
    # points of mIoU more than with the paper's weight of 1.
    segmentation.depth_weight = 0.1
    # The paper uses none. Trials without them, on Streets (16 labels, two seeds): baseline 2.1 and 0.5 points less, SDE
    # transfer with DepthMix 4.7 and 2.5; on CamVid (100 labels, one seed): baseline 2.9, ClassMix 4.5.
    segmentation.class_weights = "sqrt_inverse_frequency"

    selection = config.selection
    selection.schedule = (5, 10, 20, 40, 80)
    selection.student_steps = ((5, 100), (10, 150), (20, 200), (40, 250))
    selection.batch_size = 4
    selection.learning_rate = 1e-3
    # The paper's weight, scaled from distances of 4 x 8 x 256 features to those of 4 x 8 x 48, which are smaller.
    selection.error_weight = 430.0
    student = selection.student
    student.backbone = "resnet18"
    student.width = 0.25
    student.decoder_channels = (16, 16, 32, 48, 64)
    student.aspp_rates = (1, 2, 3)
    student.dropout = 0.1
    student.head_level = 1

    config.evaluation.batch_size = 4
    config.runtime.checkpoint_every = 500
