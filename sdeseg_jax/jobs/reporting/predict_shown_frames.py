"""Whole frames and the networks' predictions of them, for the report."""

from collections.abc import Callable

import jax
import numpy as np

from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.drawing.disparity_and_error_colors import photo
from sdeseg_jax.mixing import pseudo_labels
from sdeseg_jax.models.resize import resize_bilinear_align_corners
from sdeseg_jax.training.replication import replicate_inference, round_up


def predict_pseudo_labels(network):
    """Function of (variables, images [B, H, W, 3]) -> (label, confidence [B, H, W], disparity [B, H, W, 1] or None)."""

    def function(variables, images: jax.Array):
        outputs = network.apply(variables, images, train=False)
        label, confidence = pseudo_labels(resize_bilinear_align_corners(outputs.logits, images.shape[1:3]))
        return label, confidence, outputs.disparities[0] if outputs.disparities else None

    return replicate_inference(function)


def predict_in_batches(config, predict: Callable, variables, images: np.ndarray):
    """Predicts images [N, H, W, 3], in [0, 1] or bytes, in batches of the size and type that `evaluate` compiled."""
    size, outputs = round_up(config.evaluation.batch_size), []
    images = images if images.dtype == np.uint8 else photo(images)
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        padded = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
        outputs.append(predict(variables, padded))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(images)], *outputs)


def read_frames(dataset: FrameDataset, frames: np.ndarray, fields, disparities=None) -> dict[str, np.ndarray]:
    """Reads whole frames as one batch, images as floats in [0, 1]."""
    batch, _ = next(evaluation_batches(dataset, frames, len(frames), fields, disparities))
    return batch | {"image": batch["image"].astype(np.float32) / 255}
