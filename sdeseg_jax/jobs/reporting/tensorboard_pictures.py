"""Pictures of a few fixed frames for TensorBoard, predicted now and then during a training."""

from collections.abc import Callable, Sequence

import numpy as np

from sdeseg_jax.config import UserError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.depth.camera import disparity_to_depth
from sdeseg_jax.drawing.disparity_and_error_colors import Picture, photo
from sdeseg_jax.jobs.reporting.predict_shown_frames import predict_in_batches
from sdeseg_jax.report import panels
from sdeseg_jax.report.shown_frames import spread_frames
from sdeseg_jax.runs import open_datasets

FRAMES = 3
"""Number of frames shown, always the same ones."""

WIDTH = 512
"""Largest width of a picture in pixels: every few minutes some are stored."""


def segmentation_pictures(config, training: FrameDataset, predict: Callable) -> Callable:
    """The student's predictions of validation frames, or of training frames if no others have labels.

    Args:
      training: frames that segmentation is trained on.
      predict: from `predict_labels`; that of the evaluations, because it is compiled anyway.

    Returns:
      Function of the training state -> uint8 [H, W, 3] by name: image, truth and prediction, one below the other.
    """

    def draw(state) -> dict[str, np.ndarray]:
        dataset = _evaluation_split(config) or training
        if not len(dataset.index.labeled):
            dataset = training
        frames, batch = _read(dataset, dataset.index.labeled, ("image", "label"))
        predicted = predict_in_batches(config, predict, _variables(state), batch["image"])
        images = batch["image"] / 255
        rows = panels.prediction_rows(frames, images, batch["label"], {"": predicted}, dataset.classes)
        return _stacks("image, truth, prediction", frames, rows)

    return draw


def depth_pictures(config, training: FrameDataset, predict: Callable) -> Callable:
    """Depth of validation frames, or of training frames if there are no others.

    Args:
      training: frames that depth is learned from.
      predict: from `predict_disparity`; that of the evaluations, because it is compiled anyway.

    Returns:
      Function of the training state -> uint8 [H, W, 3] by name: image and disparity, one below the other; where true
      depth is known, image, predicted and true inverse depth on one scale, and the error.
    """

    def draw(state) -> dict[str, np.ndarray]:
        dataset = _evaluation_split(config) or training
        known = ("depth",) if "depth" in dataset.fields else ()
        frames, batch = _read(dataset, dataset.index.targets, ("image", *known))
        disparity = predict_in_batches(config, predict, _variables(state), batch["image"])[..., 0]
        images = batch["image"] / 255
        if not known:
            pairs = zip(images, disparity, strict=True)
            rows = [[Picture(photo(image), ""), panels.disparity_picture(one, "")] for image, one in pairs]
            return _stacks("image, disparity", frames, rows)
        depth = np.asarray(disparity_to_depth(disparity, config.depth.min_depth, config.depth.max_depth))
        rows = panels.depth_rows(frames, images, depth, batch["depth"][..., 0], config.evaluation.depth_cap)
        return _stacks("image, predicted and true inverse depth, error", frames, rows)

    return draw


def _evaluation_split(config) -> FrameDataset | None:
    try:
        return open_datasets.open_evaluation(config)
    except UserError:  # the evaluation reports a split that does not exist
        return None


def _read(dataset: FrameDataset, candidates: np.ndarray, fields: Sequence[str]) -> tuple[list[str], dict]:
    """Returns ids and a batch of the frames that are shown; images as bytes, for which `predict` is compiled."""
    frames = spread_frames(dataset.index.has_previous, FRAMES, candidates)
    batch, _ = next(evaluation_batches(dataset, frames, len(frames), fields))
    return [dataset.index.ids[i] for i in frames], batch


def _variables(state) -> dict:
    return {"params": state.params, "batch_stats": state.batch_stats}


def _stacks(what: str, frames: Sequence[str], rows: Sequence[Sequence[Picture]]) -> dict[str, np.ndarray]:
    """Stacks the pictures of each row into one per frame, shrunk by leaving out pixels."""
    step = -(-rows[0][0].pixels.shape[1] // WIDTH)
    stacks = (np.concatenate([picture.pixels[::step, ::step] for picture in row]) for row in rows)
    return {f"{what}/{frame}": stack for frame, stack in zip(frames, stacks, strict=True)}
