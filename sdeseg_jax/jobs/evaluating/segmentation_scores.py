"""Scores of segmentation networks on the labelled frames of a split."""

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.data.classes import VOID
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.evaluation.segmentation_metrics import SegmentationScores, confusion_matrix, scores
from sdeseg_jax.inference.sliding_window import Inference, class_probabilities
from sdeseg_jax.training.multi_host import total
from sdeseg_jax.training.replication import replicate_inference, round_up

WHOLE_IMAGE = Inference()


def predict_labels(network, inference: Inference = WHOLE_IMAGE):
    """Function of (variables, images [B, H, W, 3]) -> labels uint8 [B, H, W], on all devices."""

    def function(variables, images: jax.Array) -> jax.Array:
        def predict(inputs):
            return network.apply(variables, inputs, train=False).logits

        return jnp.argmax(class_probabilities(predict, images, inference), axis=-1).astype(jnp.uint8)

    return replicate_inference(function)


def evaluate_segmentation(
    config, dataset: FrameDataset, predict, variables, inference: Inference = WHOLE_IMAGE
) -> SegmentationScores:
    """Scores network variables on every annotated frame of a split; several hosts share the frames.

    Args:
      predict: from `predict_labels`, with the same `inference`.
      variables: {"params": ..., "batch_stats": ...}.
    """
    confusion, annotated = np.zeros((len(dataset.classes),) * 2, np.int64), 0
    batch_size = round_up(config.evaluation.batch_size)
    frames = dataset.index.labeled[jax.process_index() :: jax.process_count()]
    batches = evaluation_batches(dataset, frames, batch_size, ("image", "label")) if len(frames) else ()
    for batch, count in batches:
        predicted = predict(variables, batch["image"])[:count]
        label = batch["label"][:count]
        confusion += confusion_matrix(predicted, label, len(dataset.classes))
        annotated += int(np.any(label != VOID, axis=(1, 2)).sum())
    confusion, annotated = total(confusion), int(total(np.array([annotated]))[0])
    protocol = inference.describe(dataset.image_size)
    return scores(confusion, dataset.classes, len(dataset.index.labeled), protocol, annotated)
