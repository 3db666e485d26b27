"""Which frames depth is learned from, and which source frames segmentation learns from."""

import numpy as np

from sdeseg_jax.config import ConfigError, uses_matching
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.runs.crop_and_batch_checks import advice_for_few_frames
from sdeseg_jax.runs.random_label_draw import random_subset


def source_frames(config, dataset: FrameDataset) -> np.ndarray:
    """Returns the indices of the source frames that segmentation is trained on: all labelled ones.

    Raises:
      ConfigError: there are fewer than a batch, or than the candidates for one target frame.
    """
    frames = dataset.index.labeled
    found = f"{dataset.name}/{dataset.split} has {len(frames)} labelled frames, fewer than"
    batch_size, candidates = config.segmentation.batch_size, config.source.n_candidates
    if len(frames) < batch_size:
        advice = advice_for_few_frames(config, "segmentation.batch_size", len(frames))
        raise ConfigError("source.split", f"{found} a batch (config.segmentation.batch_size = {batch_size}). {advice}")
    if uses_matching(config) and len(frames) < candidates:
        raise ConfigError("source.n_candidates", f"{found} the {candidates} candidates for each target frame")
    if not dataset.has_annotated_pixels(frames):
        raise ConfigError(
            "source.split",
            f"the labels of all {len(frames)} frames of {dataset.name}/{dataset.split} are void: no pixel has a class "
            f"of {dataset.classes.protocol}",
        )
    return frames


def depth_candidates(config, dataset: FrameDataset) -> np.ndarray:
    """Returns the indices of frames that depth can be learned from: those with both neighbours, or with known depth.

    Raises:
      ConfigError: there are none.
    """
    where = f"{dataset.name}/{dataset.split}"
    if config.depth.supervision == "depth":
        if "depth" not in dataset.fields:
            raise ConfigError("depth.supervision", f"'depth' needs known depth, and {where} has none")
        return dataset.index.targets
    frames = dataset.index.with_neighbours
    if not len(frames):
        raise ConfigError(
            "video.name" if config.video.name else "data.train_split",
            f"{where} has no frame with both neighbours, but depth is learned from video. Name a dataset with video in "
            "config.video.",
        )
    return frames


def depth_training_frames(config, dataset: FrameDataset) -> np.ndarray:
    """Returns the indices of the frames that `pretrain_depth` learns from: a share of the candidates, drawn by seed.

    Raises:
      ConfigError: as `depth_candidates`; there are fewer than a batch.
    """
    frames, share, batch_size = depth_candidates(config, dataset), config.video.share, config.depth.batch_size
    if share < 1:
        frames = random_subset(frames, max(1, round(share * len(frames))), config.seed)
    if len(frames) < batch_size:
        of_share = f" (config.video.share = {share:g})" if share < 1 else ""
        raise ConfigError(
            "depth.batch_size",
            f"depth is learned from {len(frames)} frames of {dataset.name}/{dataset.split}{of_share}, fewer than a "
            f"batch of {batch_size}. {advice_for_few_frames(config, 'depth.batch_size', len(frames))}",
        )
    return frames
