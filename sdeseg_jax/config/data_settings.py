"""Settings of data: the dataset and its labels, other video to learn depth from, the source domain."""

import dataclasses
from collections.abc import Iterable

import ml_collections

from sdeseg_jax.config.depth_settings import DEPTH as DEPTH_TRAINING
from sdeseg_jax.config.depth_settings import MODEL
from sdeseg_jax.config.setting import COUNT, COUNT_OR_NONE, PIXELS, POSITIVE, Setting, alike, section
from sdeseg_jax.config.stage_names import EVERY, NETWORKS, SEGMENTATION

DATASETS = (
    "streets", "cityscapes", "cityscapes_video", "camvid", "gta5", "gta5_video", "synthia", "synthia_video",
    "kitti_odometry", "folder",
)  # fmt: skip
"""Datasets by name."""

_LABELS = ("select_labels", *SEGMENTATION)
_OPTIONS = "Options of a dataset that is generated: arguments of the builder of Streets."


def _dataset(name: str, what: str) -> tuple[Setting, ...]:
    """Settings that name a dataset other than that of `config.data`.

    Args:
      name: what an empty name stands for.
      what: what is read of it.
    """
    return (
        Setting("name", "", f"Dataset of {what}. Empty: {name}.", choices=("", *DATASETS)),
        Setting("split", "train", "Split of it, or a part of one: train[:200]."),
        Setting("variant", "", "Which of several prepared sizes. Empty: the only one."),
        Setting("options", ml_collections.ConfigDict(), _OPTIONS),
    )


DATA = section(
    "data", EVERY,
    Setting("name", "cityscapes", "Dataset that segmentation is trained and scored on.", choices=DATASETS),
    Setting("train_split", "train", "Training split, or a part of one: train[:200], train[:80%].", stages=NETWORKS),
    Setting("variant", "", "Which of several prepared sizes, e.g. 1024x512. Empty: the only one."),
    Setting(
        "protocol", "", "Classes that labels are read in. Empty: the dataset's own.", stages=_LABELS,
        choices=("", "cityscapes-19", "synthia-16", "synthia-13", "camvid-11"),
    ),
    Setting(
        "data_dir", "", "Folder of prepared datasets. Empty: $TFDS_DATA_DIR or ~/tensorflow_datasets.", is_path=True,
        recorded_by=(),
    ),
    Setting(
        "crop", (512, 512), "Height and width of training crops.", PIXELS, lengths=(2,), multiple_of=32,
        stages=NETWORKS,
    ),
    Setting("flip", True, "Mirror training images at random.", stages=NETWORKS),
    Setting("labels", 372, "Annotated training frames that may be used. 0: all.", COUNT_OR_NONE, stages=SEGMENTATION),
    Setting(
        "labels_from", "random", "How they are chosen: drawn by the seed, or the selection of select_labels.",
        choices=("random", "selection"), stages=SEGMENTATION,
    ),
    Setting(
        "labels_file", "", 'JSON file with the ids of the annotated frames to use instead: a list, or {"ids": [...]}.',
        is_path=True, stages=SEGMENTATION,
    ),
    # Co-trained depth needs both neighbours; rows of a table with and without it should have the same labels.
    Setting(
        "label_candidates", "video", "Annotated frames to draw from: all, or only those with both neighbours in their "
        "video (all, where none has).", choices=("video", "all"), stages=_LABELS,
    ),
    Setting("unlabeled", 0, "Unlabelled training frames that may be used. 0: all.", COUNT_OR_NONE, stages=SEGMENTATION),
    Setting("options", ml_collections.ConfigDict(), _OPTIONS),
)  # fmt: skip

VIDEO = section(
    "video", EVERY,
    *_dataset("the training split of config.data", "the video that depth is learned from"),
    Setting("share", 1.0, "Share of its frames that is used, drawn by the seed (Table 9).", (POSITIVE, 1.0)),
    # Where these numbers come from: data/builders/neighbour_changes.py.
    Setting(
        "min_difference", 4.0, "Depth is not learned from a frame that is nearly the same as the one before or after "
        "it: 99% of the pixels of their small versions differ by fewer grey levels. 0: it is.", (0, 255),
    ),
    Setting(
        "min_match", 0.68, "Nor from a frame at a cut: less of the one before or after it is found again in it, from 0 "
        "to 1. 0: it is.", (0, 1.0),
    ),
)  # fmt: skip

_SOURCE_DEPTH = ("pretrain_source_depth", "estimate_source_depth")
_OF_DATASET = {"stages": ("dataset", *_SOURCE_DEPTH, *SEGMENTATION), "recorded_by": ("dataset", *SEGMENTATION)}


def _also_for_dataset(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    return tuple(one if one.key == "split" else dataclasses.replace(one, **_OF_DATASET) for one in settings)


SOURCE = section(
    "source", (*_SOURCE_DEPTH, *SEGMENTATION),
    *_also_for_dataset(_dataset("none", "labelled frames of another domain to learn from, too (Sec. 3.5)")),
    Setting(
        "n_candidates", 5, "Source frames of which the one nearest in geometry is taken (Eq. 23). 1: drawn at random.",
        COUNT, stages=SEGMENTATION,
    ),
    Setting(
        "workdir", "", "Another run's workdir, whose source depth is used instead of learning it here: its folder "
        "source.", is_path=True,
    ),
    *_also_for_dataset(
        section("video", None, *_dataset("the labelled split", "the video that the source's depth is learned from"))
    ),
    *alike(MODEL, "model", output_stride=32, decoder_channels=(16, 32, 64, 128, 256), aspp_rates=(3, 6, 9)),
    *alike(
        DEPTH_TRAINING, "depth", workdir="", supervision="self", encoder_learning_rate=1e-5, frozen_steps=0,
        feature_distance_weight=0.0,
    ),
    recorded_by=SEGMENTATION,
)  # fmt: skip
