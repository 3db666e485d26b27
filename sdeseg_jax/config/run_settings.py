"""Settings of a run: seed, checkpoints and logs, evaluation, prediction, export, stages."""

from sdeseg_jax.config.setting import BATCH, COUNT, COUNT_OR_NONE, METRES, PIXELS, POSITIVE, SHARE, Setting, section
from sdeseg_jax.config.stage_names import EVERY, NETWORKS, OPTIONAL_STAGES, STAGES, TRAININGS

GENERAL = (
    Setting(
        "seed", 0, "Seed of initial weights, data order and the choice of labels.", COUNT_OR_NONE, stages=NETWORKS
    ),
    Setting(
        "profile", (), "Steps of every training to trace for TensorBoard and xprof: the first, and the one after the "
        "last. Empty: none.", COUNT_OR_NONE, lengths=(0, 2), of=int, stages=TRAININGS, recorded_by=(),
    ),
)  # fmt: skip

RUNTIME = section(
    "runtime", TRAININGS,
    Setting("log_every", 50, "Steps between two lines of metrics.", COUNT),
    Setting("checkpoint_every", 1000, "Steps between two checkpoints.", COUNT),
    Setting(
        "checkpoint_minutes", 10.0, "Minutes after which a checkpoint is saved in any case, checked whenever metrics "
        "are logged. 0: by steps alone.", (0, 1e9),
    ),
    Setting("keep_checkpoints", 2, "Newest checkpoints to keep, beside the best one.", (1, 10_000)),
    Setting("evaluate_every", 0, "Steps between two evaluations during training. 0: at the end only.", COUNT_OR_NONE),
    Setting(
        "max_skipped_steps", 3, "Steps in a row with a loss or gradient that is not finite, after which a training "
        "stops.", COUNT,
    ),
    Setting("stop_on_collapse", False, "Stop a training whose depth has collapsed, instead of warning."),
    Setting("tensorboard", True, "Write TensorBoard files: metrics, and pictures of a few fixed frames."),
    Setting(
        "compilation_cache", "", "Folder for compiled programs. Empty: sdeseg_jax/xla in $XDG_CACHE_HOME or ~/.cache.",
        is_path=True,
    ),
    Setting("reader_threads", 2, "Threads that read records ahead.", (1, 1024), stages=EVERY),
    recorded_by=(),
)  # fmt: skip

EVALUATION = section(
    "evaluation", ("evaluate",),
    Setting("batch_size", 4, "Images per step of evaluation, all devices together.", BATCH),
    Setting("network", "student", "Network that is scored, where there are two.", choices=("student", "teacher")),
    Setting("depth", True, "Score the depth network, too."),
    Setting("depth_cap", 50.0, "Metres beyond which depth is not scored.", METRES),
    Setting("split", "validation", "Split that is scored, or a part of one: validation[:100]."),
    Setting(
        "variant", "", "Prepared size that segmentation is scored at, e.g. 2048x1024. Empty: that of config.data, the "
        "paper's protocol.",
    ),
    Setting(
        "input_size", (), "Height and width that the network sees. Empty: those of the training images.", PIXELS,
        lengths=(0, 2), multiple_of=32, of=int,
    ),
    Setting(
        "window", (), "Height and width of sliding windows. Empty: the whole image.", PIXELS, lengths=(0, 2),
        multiple_of=32, of=int,
    ),
    Setting("flip", False, "Average the prediction with that of the mirrored image."),
    Setting(
        "scales", (1.0,), "Scales of the input that predictions are averaged over.", (POSITIVE, 16.0),
        may_be_empty=False,
    ),
)  # fmt: skip

PREDICT = section(
    "predict", ("predict",),
    Setting(
        "stage", "", "Stage whose network predicts. Empty: the first of these that is finished.",
        choices=("", "train", "baseline", "pretrain_depth"),
    ),
    Setting("batch_size", 4, "Images per step of prediction, all devices together.", BATCH),
    Setting(
        "files", ("labels", "overlays", "disparity", "disparity_color"), "What to write for each image.",
        choices=("labels", "overlays", "disparity", "disparity_color", "confidence"), may_be_empty=False,
    ),
    Setting("side_by_side", False, "For videos, also write one with image, overlay and disparity beside each other."),
    recorded_by=(),
)  # fmt: skip

EXPORT = section(
    "export", ("export",),
    Setting(
        "formats", ("weights", "stablehlo", "saved_model", "onnx"), "Formats to write.",
        choices=("weights", "stablehlo", "saved_model", "onnx"), may_be_empty=False,
    ),
    Setting(
        "image_size", (), "Height and width of the images that exported files take. Empty: those of the training "
        "images.", PIXELS, lengths=(0, 2), of=int,
    ),
    Setting("probabilities", False, "Return the probabilities of all classes, too."),
    Setting("tolerance", 1e-4, "Largest difference from the network that an exported file may have.", SHARE),
    recorded_by=(),
)  # fmt: skip

PIPELINE = section(
    "pipeline", ("pipeline",),
    Setting(
        "stages", tuple(one for one in STAGES if one not in OPTIONAL_STAGES), "Stages that the pipeline runs, in this "
        "order.", choices=STAGES,
    ),
    recorded_by=(),
)  # fmt: skip
