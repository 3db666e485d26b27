"""Which frames depth is learned from, and which source frames segmentation learns from."""

import logging

import numpy as np

from sdeseg_jax.config import ConfigError, uses_matching
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.runs.crop_and_batch_checks import advice_for_few_frames
from sdeseg_jax.runs.random_label_draw import random_subset

log = logging.getLogger(__name__)


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

    Frames whose neighbours show the same view or another place are left out, see `left_out_of_depth`.

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
    left_out = left_out_of_depth(config, dataset)
    kept = np.setdiff1d(frames, np.concatenate([*left_out.values()]))
    if not len(kept):
        reasons = [(len(found), what) for what, found in left_out.items() if len(found)]
        counts = " and ".join(f"{number} {what}" for number, what in reasons)
        raise ConfigError(
            REASONS[max(reasons)[1]],
            f"none of the {len(frames)} frames of {where} is left to learn depth from: {counts}. Where a camera moves "
            "too little between frames, prepare the video again with --stride=2 or more; where it moves too far, more "
            "frames per second are needed. To learn from these frames all the same, set it to 0.",
        )
    return kept


SAME_VIEW, CUT = "are nearly the same as the frame before or after them", "are next to a cut"
"""What is wrong with frames that depth is not learned from."""

REASONS = {SAME_VIEW: "video.min_difference", CUT: "video.min_match"}
"""The settings that leave them out."""


def left_out_of_depth(config, dataset: FrameDataset) -> dict[str, np.ndarray]:
    """Returns what is wrong -> the frames with both neighbours that depth is not learned from (indices)."""
    video = config.video
    return {SAME_VIEW: dataset.index.near_same_view(video.min_difference), CUT: dataset.index.near_cut(video.min_match)}


def tell_left_out(config, dataset: FrameDataset) -> None:
    """Logs how many frames depth is not learned from although they have both neighbours."""
    for what, found in left_out_of_depth(config, dataset).items():
        if len(found) and config.depth.supervision == "self":
            whole, key = len(dataset.index.with_neighbours), REASONS[what]
            log.info("%s/%s: %d of %d frames %s (config.%s)", dataset.name, dataset.split, len(found), whole, what, key)


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
        if left_out := sum(map(len, left_out_of_depth(config, dataset).values())):
            of_share += (
                f" ({left_out} more have neighbours that teach no depth: config.video.min_difference, min_match)"
            )
        raise ConfigError(
            "depth.batch_size",
            f"depth is learned from {len(frames)} frames of {dataset.name}/{dataset.split}{of_share}, fewer than a "
            f"batch of {batch_size}. {advice_for_few_frames(config, 'depth.batch_size', len(frames))}",
        )
    return frames
