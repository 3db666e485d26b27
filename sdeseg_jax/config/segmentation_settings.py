"""Settings of segmentation (Sec. 3.3 to 3.5, 4.3), its baseline, and the selection of frames to annotate (Sec. 3.2)."""

from sdeseg_jax.config.depth_settings import DEPTH, INIT, MODEL
from sdeseg_jax.config.setting import BATCH, COUNT, MANY, RATE, SHARE, WEIGHT, Setting, alike, section
from sdeseg_jax.config.stage_names import SEGMENTATION as SEGMENTATION_STAGES

MIXES = ("none", "class", "cut", "depth")
_STARTS = ("scratch", "depth")

SEGMENTATION = section(
    "segmentation", SEGMENTATION_STAGES,
    Setting(
        "batch_size", 2, "Labelled images per step, all devices together; as many again come from the pool of all "
        "images.", BATCH,
    ),
    Setting("steps", 40_000, "Steps of the training.", COUNT),
    Setting("optimizer", "sgd", "Optimizer.", choices=("sgd", "adam", "adamw")),
    Setting("learning_rate", 1e-2, "Learning rate of the parts that start from random weights.", RATE),
    Setting("pretrained_learning_rate", 1e-3, "Learning rate of pretrained encoder and depth decoder.", RATE),
    Setting(
        "layer_decay", 1.0, "Factor of the encoder's learning rate from one layer to the one before (layer-wise "
        "decay). 1: all alike.", (0.01, 1.0),
    ),
    Setting(
        "freeze_encoder", False, "Keep the encoder's first weights. BatchNorm's statistics still adapt, and what "
        "reassembles a Vision Transformer's tokens learns.",
    ),
    Setting(
        "pose_learning_rate", 1e-6, "Learning rate of the pose network with init_decoder = depth; else it is "
        "learning_rate.", RATE, split_from="segmentation.pretrained_learning_rate",
    ),
    *alike(
        DEPTH, "", learning_rate_rule="none", reference_batch_size=2, schedule="step", decay_steps=(30_000,),
        decay_factor=0.1,
    ),
    Setting("momentum", 0.9, "Momentum of sgd.", SHARE),
    Setting("weight_decay", 5e-4, "Weight decay of sgd and adamw.", WEIGHT),
    Setting("clip_norm", 10.0, "Norm that gradients are clipped to.", WEIGHT),
    Setting(
        "init_encoder", "depth", "First weights of the encoder: the depth network's, or config.init's.",
        choices=_STARTS,
    ),
    Setting(
        "init_decoder", "depth", "First weights of the decoders: the depth network's, or config.init's.",
        choices=_STARTS,
    ),
    Setting("multitask", True, "Co-train depth, with attention-guided distillation (PAD) between tasks (Sec. 3.3)."),
    Setting(
        "head", "projection", "Head of the network without multitask; the multi-task network has a classifier. linear: "
        "on the encoder's last feature, without a decoder.", choices=("classifier", "projection", "linear"),
    ),
    Setting(
        "mix", "depth", "How pairs of pseudo-labelled images are mixed: depth: DepthMix; class: ClassMix; cut: CutMix; "
        "none: pseudo-labels alone.", choices=MIXES,
    ),
    Setting("pseudo_labels", True, "Learn from unlabelled images by pseudo-labels of a mean teacher (Sec. 3.4)."),
    Setting(
        "mix_disparity", "online", "Disparity that DepthMix mixes by: the stored one of the depth network, or the "
        "student's own, which needs multitask.", choices=("precomputed", "online"),
    ),
    Setting("mix_margin", 0.03, "Disparity by which a pixel has to be nearer to occlude another (Eq. 9).", SHARE),
    Setting("strong_augmentation", True, "Colour jitter and blur on mixed images."),
    Setting("confidence_threshold", 0.968, "Confidence from which a pseudo-label counts as sure (Eq. 14).", SHARE),
    Setting("teacher_decay", 0.99, "Decay of the mean teacher's average.", SHARE),
    Setting("pseudo_label_weight", 1.0, "Weight lambda_P of the loss on mixed images.", WEIGHT),
    Setting(
        "cross_mix", "none", "How source frames are pasted onto target frames: depth: Cross-Domain DepthMix; class: as "
        "DACS; cut; or none.", choices=MIXES,
    ),
    Setting("cross_mix_weight", 1.0, "Weight of the loss on images mixed across domains.", WEIGHT),
    Setting("source_weight", 1.0, "Weight of the cross-entropy on source images. 0: left out.", WEIGHT),
    Setting("depth_weight", 1.0, "Weight lambda_SDE of the co-trained depth loss.", WEIGHT),
    Setting(
        "class_weights", "none", "Weights of classes in the loss on annotated images.",
        choices=("none", "sqrt_inverse_frequency"),
    ),
)  # fmt: skip

# The same program with terms switched off.
BASELINE = section(
    "baseline", ("baseline",),
    *alike(
        SEGMENTATION, "", init_encoder="scratch", init_decoder="scratch", multitask=False, mix="none",
        pseudo_labels=False, cross_mix="none", source_weight=0.0,
    ),
    recorded_by=(),
)  # fmt: skip

SELECTION = section(
    "selection", ("select_labels",),
    Setting(
        "method", "ds_us", "Criterion: diversity (Eq. 2) and error of a depth student (Eq. 3) combined (Eq. 4), or one "
        "of its rivals.", choices=("random", "entropy", "diversity", "uncertainty", "ds_us"),
    ),
    Setting(
        "schedule", (25, 50, 100, 200, 372, 744), "Number of chosen frames after each step of Algorithm 1.", COUNT,
        may_be_empty=False,
    ),
    Setting(
        "candidates", "annotated", "Frames to choose among: annotated, which simulates an annotator; or all with both "
        "neighbours and, without segmentation.multitask, images that are of no video.", choices=("annotated", "all"),
    ),
    Setting(
        "existing", "", "What is annotated before: a JSON file of ids, or annotated: whatever has a label.",
        is_path=True,
    ),
    Setting("error_weight", 1000.0, "Weight lambda_E of the student's error (Eq. 4).", WEIGHT),
    Setting("feature_size", (4, 8), "Rows and columns that features are pooled to.", (1, 1024), lengths=(2,)),
    Setting(
        "student_steps", ((25, 4_000), (50, 8_000), (100, 12_000), (200, 16_000), (372, 20_000)), "Pairs (frames, "
        "steps): a student that learns from at least so many frames is trained for so many steps.", (1, MANY),
        may_be_empty=False,
    ),
    Setting("batch_size", 2, "Images per step of a student, all devices together.", BATCH),
    Setting("learning_rate", 1e-4, "Learning rate of a student.", RATE),
    *alike(INIT, "init", encoder=""),
    *alike(
        MODEL, "student", backbone="resnet50", width=1.0, output_stride=16, decoder_channels=(64, 64, 128, 128, 256),
        decoder_norm=True, aspp_rates=(6, 12, 18), dropout=0.5, head_level=0,
    ),
)  # fmt: skip
