"""Every setting there is, with the paper's value as default, and what follows from some of them."""

import json

import ml_collections

DATASETS = (
    "streets", "cityscapes", "cityscapes_video", "camvid", "gta5", "gta5_video", "synthia", "synthia_video",
    "kitti_odometry", "folder",
)  # fmt: skip
"""What `data.name` may be."""

CHOICES = {
    "model.backbone": ("resnet18", "resnet34", "resnet50", "resnet101"),
    "model.pose_backbone": ("resnet18", "resnet34", "resnet50"),
    "model.output_stride": (8, 16, 32),
    "model.head_level": (0, 1),
    "model.dtype": ("float32", "bfloat16"),
    "depth.supervision": ("self", "depth"),
    "depth.schedule": ("step", "cosine"),
    "depth.learning_rate_rule": ("none", "linear", "sqrt"),
    "segmentation.optimizer": ("sgd", "adam"),
    "segmentation.schedule": ("step", "cosine"),
    "segmentation.learning_rate_rule": ("none", "linear", "sqrt"),
    "segmentation.mix": ("none", "class", "cut", "depth"),
    "segmentation.cross_mix": ("none", "class", "cut", "depth"),
    "segmentation.head": ("classifier", "projection"),
    "segmentation.mix_disparity": ("precomputed", "online"),
    "segmentation.init_encoder": ("scratch", "depth"),
    "segmentation.init_decoder": ("scratch", "depth"),
    "segmentation.class_weights": ("none", "sqrt_inverse_frequency"),
    "evaluation.network": ("student", "teacher"),
    "data.name": DATASETS,
    "video.name": ("", *DATASETS),
    "source.name": ("", *DATASETS),
    "source.video.name": ("", *DATASETS),
    "source.model.output_stride": (8, 16, 32),
    "source.depth.supervision": ("self", "depth"),
    "data.protocol": ("", "cityscapes-19", "synthia-16", "synthia-13", "camvid-11"),
    "data.labels_from": ("random", "selection"),
    "data.label_candidates": ("video", "all"),
    "predict.stage": ("", "train", "baseline", "pretrain_depth"),
    "predict.files": ("labels", "overlays", "disparity", "disparity_color", "confidence"),
    "export.formats": ("weights", "stablehlo", "saved_model", "onnx"),
    "selection.method": ("random", "entropy", "diversity", "uncertainty", "ds_us"),
    "selection.candidates": ("annotated", "all"),
    "selection.student.backbone": ("resnet18", "resnet34", "resnet50", "resnet101"),
    "selection.student.output_stride": (8, 16, 32),
    "selection.student.head_level": (0, 1),
}  # fmt: skip
"""Settings that take one of a few values, or several where they are tuples."""

BUILDER_OPTIONS = ("data.options", "video.options", "source.options", "source.video.options")
"""Settings that the dataset's builder checks."""

SPLIT_SETTINGS = {"segmentation.pose_learning_rate": "segmentation.pretrained_learning_rate"}
"""Settings that were a part of another one in older runs: what these recorded for that one holds for them, too."""

STAGES = (
    "pretrain_depth", "estimate_depth", "pretrain_source_depth", "estimate_source_depth", "select_labels", "baseline",
    "train", "evaluate", "report",
)  # fmt: skip
"""Stages that a pipeline is made of, in an order that works."""

OPTIONAL_STAGES = ("pretrain_source_depth", "estimate_source_depth", "select_labels")
"""Those that a pipeline has only where its config asks for them."""


class ConfigError(ValueError):
    """A setting is wrong; the message names the key and says what to do."""


def _section(**values) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(values)


def default_config() -> ml_collections.ConfigDict:
    """Returns the paper's settings (Sec. 4.2, 4.3) for Cityscapes at full size, every key present."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.profile = ()  # start, stop: a trace of these steps of every training that is run, for TensorBoard and xprof
    # Settings of this run that do not change what is computed; they may differ between runs in one workdir.
    config.runtime = _section(
        log_every=50,
        checkpoint_every=1000,  # steps
        checkpoint_minutes=10.0,  # the same by time, looked at whenever something is logged; 0: by steps alone
        keep_checkpoints=2,
        evaluate_every=0,  # steps between evaluations during training; 0: at the end only
        max_skipped_steps=3,  # steps in a row with a loss or gradient that is not finite, after which a training stops
        stop_on_collapse=False,  # stop where depth has collapsed; else warn
        tensorboard=True,
        compilation_cache="",  # folder; empty: $XDG_CACHE_HOME/sdeseg_jax, or ~/.cache/sdeseg_jax
        reader_threads=2,
    )
    config.data = _section(
        name="cityscapes",
        train_split="train",  # or a part of one: "train[:200]", "train[:80%]"
        variant="",  # which of several prepared sizes, e.g. "1024x512"; empty: the only one
        protocol="",  # classes that labels are read in; empty: the dataset's own
        data_dir="",  # where prepared datasets lie; empty: TFDS's default ($TFDS_DATA_DIR or ~/tensorflow_datasets)
        crop=(512, 512),  # height, width of training crops
        flip=True,
        labels=372,  # annotated training frames that may be used; 0: all
        labels_from="random",  # which ones: drawn by seed; or "selection": what select_labels chose
        labels_file="",  # JSON list of ids, or {"ids": [...]}: these instead
        # Annotated frames that labels are drawn from: "all", or "video", where any have both neighbours those that do:
        # co-trained depth needs the neighbours, and rows with and without it should have the same labels.
        label_candidates="video",
        unlabeled=0,  # unlabelled frames in use, 0: all
        options=ml_collections.ConfigDict(),  # of Streets, which is generated: arguments of its builder
    )
    # The video that depth is learned from, if not the training split of config.data.
    config.video = _section(
        name="",  # a dataset; empty: that of config.data
        split="train",
        variant="",
        options=ml_collections.ConfigDict(),
        share=1.0,  # of its frames with neighbours, chosen by seed (Table 9 has 1, 0.1, 0.01, 0.001)
    )
    # Labelled frames of another domain that segmentation learns from, too: domain adaptation (Sec. 3.5).
    config.source = _section(
        name="",  # a dataset; empty: none
        split="train",
        variant="",
        options=ml_collections.ConfigDict(),
        n_candidates=5,  # |C| of Matching Geometry Sampling (Eq. 23); 1: source frames are drawn at random
        workdir="",  # of a run whose finished source depth is used instead of learning it here: its folder "source"
        # The video that the source's depth is learned from, if not the labelled split.
        video=_section(name="", split="train", variant="", options=ml_collections.ConfigDict()),
        # What the source's depth network does differently from the target's (config.model, config.depth).
        model=_section(output_stride=32, decoder_channels=(16, 32, 64, 128, 256), aspp_rates=(3, 6, 9)),
        depth=_section(
            workdir="",  # of a run whose finished depth network is used, its folder "depth"
            supervision="self",
            encoder_learning_rate=1e-5,
            frozen_steps=0,
            feature_distance_weight=0.0,
        ),
    )
    config.model = _section(
        backbone="resnet101",
        width=1.0,  # multiplier on all channels of the encoder
        output_stride=16,
        decoder_channels=(64, 128, 128, 256, 256),  # blocks 0..4, 0 at full resolution
        decoder_norm=False,  # BatchNorm in the decoders; the paper has it in the data selection's slim network only
        aspp_rates=(6, 12, 18),
        dropout=0.5,
        head_level=0,  # finest decoder block; 1 predicts at half resolution, for small machines
        pose_backbone="resnet18",
        pose_width=1.0,
        dtype="float32",  # of the computation; parameters, geometry, losses and statistics are float32 always
        remat=False,  # recompute activations in the backward pass: less memory, about a third more time
        sync_batch_norm=True,  # batch statistics over all devices; False: each device's own, as without many devices
        # Forward-motion prior for training from random initialisation, where self-supervised depth likes to fall
        # into false minima. Not in the paper: off (0, 1, zeros) with pretrained weights.
        disparity_bias=0.0,
        pose_rotation_scale=1.0,
        pose_translation_bias=(0.0, 0.0, 0.0),
    )
    # Checkpoint folder that a part of the network is taken from (scripts/import_weights.py writes them); empty: random.
    config.init = _section(encoder="", depth_decoder="", pose="", segmentation_decoder="", distillation="")
    config.depth = _section(
        supervision="self",  # by video; "depth": by the dataset's own depth, of stereo or simulation (Table 9)
        workdir="",  # of a run whose finished depth network is used instead of training one here
        batch_size=4,
        steps=350_000,
        frozen_steps=300_000,  # phase 1: the encoder keeps its initial weights; its BatchNorm adapts to the images
        learning_rate=1e-4,
        encoder_learning_rate=1e-4,
        learning_rate_rule="none",  # "linear" or "sqrt": rates grow with batch_size / reference_batch_size
        reference_batch_size=4,  # that the rates are meant for
        schedule="step",
        decay_steps=(160_000,),
        decay_factor=0.1,
        feature_distance_weight=1e-2,  # lambda_F in phase 2, per batch of reference_batch_size
        min_depth=0.1,
        max_depth=100.0,
        smoothness_weight=1e-3,
        automask=True,
        scales=4,
        color_jitter=True,
    )
    config.estimate = _section(
        workdir="",  # of a run whose finished disparity is used instead of estimating it here: its folder "disparity"
        batch_size=8,
    )
    # Which frames to annotate (Sec. 3.2).
    config.selection = _section(
        method="ds_us",  # diversity (Eq. 2) and depth student error (Eq. 3), Eq. 4; or one of its rivals
        schedule=(25, 50, 100, 200, 372, 744),  # frames chosen after each step of Algorithm 1
        # Choose among "annotated" frames, to simulate an annotator, or "all": those with both neighbours and, without
        # segmentation.multitask, images that are of no video. At the ends of clips, depth could not be co-trained.
        candidates="annotated",
        existing="",  # what is annotated before: a JSON file of ids, or "annotated": what the dataset has labels of
        error_weight=1000.0,  # lambda_E
        feature_size=(4, 8),  # rows, columns that features are pooled to
        # The student (of "entropy": a segmentation network of this kind), trained anew before each step but the first.
        # (frames, steps): one that learns from at least so many frames is trained for so many steps.
        student_steps=((25, 4_000), (50, 8_000), (100, 12_000), (200, 16_000), (372, 20_000)),
        batch_size=2,
        learning_rate=1e-4,
        init=_section(encoder=""),  # as config.init, of the students; theirs is another network than config.model's
        student=_section(
            backbone="resnet50",
            width=1.0,
            output_stride=16,
            decoder_channels=(64, 64, 128, 128, 256),
            decoder_norm=True,
            aspp_rates=(6, 12, 18),
            dropout=0.5,
            head_level=0,
        ),
    )
    config.segmentation = _section(
        batch_size=2,  # labelled images, all devices together; as many again come from the pool of all images
        steps=40_000,
        optimizer="sgd",
        learning_rate=1e-2,  # of parts that start from scratch
        pretrained_learning_rate=1e-3,  # of encoder and depth decoder
        pose_learning_rate=1e-6,  # with init_decoder = "depth"; else it starts from scratch, too
        learning_rate_rule="none",  # "linear" or "sqrt": rates grow with batch_size / reference_batch_size
        reference_batch_size=2,  # that the rates are meant for
        schedule="step",
        decay_steps=(30_000,),
        decay_factor=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        clip_norm=10.0,
        init_encoder="depth",
        init_decoder="depth",
        multitask=True,
        head="projection",  # of the segmentation network; the multi-task network has a classifier alone
        mix="depth",  # DepthMix; or "class" (ClassMix), "cut" (CutMix), "none" (pseudo-labels alone)
        pseudo_labels=True,  # False: no unlabelled images at all
        mix_disparity="online",
        mix_margin=0.03,
        strong_augmentation=True,
        confidence_threshold=0.968,
        teacher_decay=0.99,
        pseudo_label_weight=1.0,  # lambda_P
        # Domain adaptation, if config.source names a dataset: source frames pasted onto target frames ...
        cross_mix="none",  # ... by Cross-Domain DepthMix ("depth"), "class" (as DACS does), "cut"; or not at all
        cross_mix_weight=1.0,
        source_weight=1.0,  # of the cross-entropy on source images; 0: the term is left out
        depth_weight=1.0,  # lambda_SDE
        class_weights="none",  # in the terms of annotated images; mixed ones are weighted by quality alone
    )
    # What the supervised baseline does differently: the same program with terms switched off.
    config.baseline = _section(
        init_encoder="scratch", init_decoder="scratch", multitask=False, mix="none", pseudo_labels=False,
        cross_mix="none", source_weight=0.0,
    )  # fmt: skip
    config.evaluation = _section(
        batch_size=4,
        network="student",
        depth=True,  # whether the depth network is scored, too
        depth_cap=50.0,
        split="validation",
        # How segmentation is scored. As set here, at the network's input resolution: the paper's protocol.
        variant="",  # prepared size that it is scored at, e.g. "2048x1024"; empty: that of config.data
        input_size=(),  # height, width that the network sees; empty: that of the training images
        window=(),  # height, width of sliding windows; empty: the whole image
        flip=False,  # average with the mirrored image
        scales=(1.0,),  # of the input, averaged over
    )
    # Predicting on images and videos (job predict) and taking the networks away (job export).
    config.predict = _section(
        stage="",  # whose network: "train", "baseline" or "pretrain_depth"; empty: the first of them that is finished
        batch_size=4,
        files=("labels", "overlays", "disparity", "disparity_color"),  # "confidence" is another one
        side_by_side=False,  # of videos, another one: image, overlay and disparity
    )
    config.export = _section(
        formats=("weights", "stablehlo", "saved_model", "onnx"),
        image_size=(),  # height, width of the images that exported files take; empty: that of the training images
        probabilities=False,  # whether exported files return those of all classes, too
        tolerance=1e-4,  # largest difference to the network that an exported file may show
    )
    config.pipeline = _section(stages=tuple(stage for stage in STAGES if stage not in OPTIONAL_STAGES))
    return config.lock()


def flatten(config, prefix: str = "") -> dict:
    """Flattens nested settings to {'section.key': value}."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, (ml_collections.ConfigDict, dict)) and len(value):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def to_json(config) -> dict:
    """Plain, JSON-able copy of a config (tuples become lists)."""
    return json.loads(json.dumps(config.to_dict(), default=list))


def baseline_config(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The config of the supervised baseline: `config.segmentation` overridden by `config.baseline`."""
    config = config.copy_and_resolve_references()
    config.segmentation.update(config.baseline)
    return config


def source_config(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The config of the source domain's depth: `config` with `config.source` for its data, video and networks.

    Weights of `config.init` are for the encoders alone: its decoders are of another size.
    """
    config, source = config.copy_and_resolve_references(), config.source
    for section, own, split in ((config.data, source, "train_split"), (config.video, source.video, "split")):
        section.update(name=own.name, variant=own.variant)
        section.options, section[split] = own.options, own.split
    config.data.update(protocol="", labels=0, labels_file="", labels_from="random")
    config.video.share = 1.0
    config.model.update(source.model)
    config.depth.update(source.depth)
    config.init.update(depth_decoder="", segmentation_decoder="", distillation="")
    return config


def uses_pool(segmentation) -> bool:
    """Whether `config.segmentation` asks for unlabelled target frames, and with them for a mean teacher."""
    return segmentation.pseudo_labels or segmentation.cross_mix != "none"


def uses_source(config) -> bool:
    """Whether segmentation learns from the source domain's labels."""
    return bool(config.source.name) and (
        config.segmentation.source_weight > 0 or config.segmentation.cross_mix != "none"
    )


def uses_matching(config) -> bool:
    """Whether source frames are chosen by their geometry (Eq. 22, 23), which matters only where they are mixed in."""
    return uses_source(config) and config.segmentation.cross_mix != "none" and config.source.n_candidates > 1


def needs_source_disparity(config) -> bool:
    """Whether training reads the stored disparity of source frames."""
    return uses_matching(config) or (uses_source(config) and config.segmentation.cross_mix == "depth")


def mixes_by_stored_disparity(segmentation) -> bool:
    """Whether `config.segmentation` mixes target frames, with each other or with the source, by stored disparity."""
    stored = segmentation.mix == "depth" and segmentation.mix_disparity == "precomputed"
    return stored or segmentation.cross_mix == "depth"


def needs_disparity(config) -> bool:
    """Whether training reads the stored disparity of target frames: to mix by it, or to match source frames to it."""
    return mixes_by_stored_disparity(config.segmentation) or uses_matching(config)
