"""Job `evaluate`: depth against truth and priors, segmentation of method and baseline, into `evaluation/`."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.config import ConfigError, baseline_config
from sdeseg_jax.data.frames import FrameDataset
from sdeseg_jax.data.pipeline import evaluation_batches
from sdeseg_jax.depth.camera import disparity_to_depth
from sdeseg_jax.evaluation.depth import depth_scores, pixel_priors
from sdeseg_jax.evaluation.segmentation import SegmentationScores, confusion_matrix, scores
from sdeseg_jax.jobs import common
from sdeseg_jax.jobs.estimate_depth import predict_disparity
from sdeseg_jax.jobs.workdir import FOLDERS, Workdir, check_stage, write_json
from sdeseg_jax.models.resize import resize_bilinear_align_corners
from sdeseg_jax.training.initialization import load_variables
from sdeseg_jax.training.replication import replicate_inference, round_up

PRIOR_FRAMES = 400
"""Training frames that the depth priors are averaged over."""


def predict_labels(network):
    """Function of (variables, images [B, H, W, 3]) -> labels uint8 [B, H, W], on all devices."""

    def function(variables, images: jax.Array) -> jax.Array:
        logits = network.apply(variables, images, train=False).logits
        return jnp.argmax(resize_bilinear_align_corners(logits, images.shape[1:3]), axis=-1).astype(jnp.uint8)

    return replicate_inference(function)


def evaluate_segmentation(config, dataset: FrameDataset, predict, variables) -> SegmentationScores:
    """Scores network variables on every frame of a labelled split, at input resolution.

    Args:
      predict: of `predict_labels`.
      variables: {"params": ..., "batch_stats": ...}.
    """
    confusion = np.zeros((len(dataset.classes),) * 2, np.int64)
    batch_size = round_up(config.evaluation.batch_size)
    for batch, count in evaluation_batches(dataset, range(len(dataset.index)), batch_size, ("image", "label")):
        predicted = predict(variables, batch["image"])[:count]
        confusion += confusion_matrix(predicted, batch["label"][:count], len(dataset.classes))
    return scores(confusion, dataset.classes, len(dataset.index))


def predicted_and_true_depth(config, dataset: FrameDataset, predict, variables) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs ([H, W] depth up to scale, [H, W] metres) of every frame of a split with true depth.

    Args:
      predict: of `predict_disparity`.
    """
    pairs = []
    batch_size = round_up(config.evaluation.batch_size)
    for batch, count in evaluation_batches(dataset, range(len(dataset.index)), batch_size, ("image", "depth")):
        disparity = predict(variables, batch["image"])[:count, ..., 0]
        depth = np.asarray(disparity_to_depth(disparity, config.depth.min_depth, config.depth.max_depth))
        pairs += zip(depth, batch["depth"][:count, ..., 0], strict=True)
    return pairs


def evaluate_depth(config, dataset: FrameDataset, training: FrameDataset, folder) -> dict[str, float]:
    """Scores the depth network where true depth is known, and the per-pixel priors of the training frames beside it.

    Returns:
      The metrics, and the same of the priors: `prior_abs_rel` is the better of mean and median, `priors` has all.
    """
    variables, cap = load_variables(folder), config.evaluation.depth_cap
    predict = predict_disparity(common.depth_network(config))
    pairs = predicted_and_true_depth(config, dataset, predict, variables)
    truths = [truth for _, truth in pairs]
    result = depth_scores(pairs, cap).to_json()

    every = max(1, len(training.index) // PRIOR_FRAMES)
    indices = range(0, len(training.index), every)
    depths = [
        one[..., 0]
        for batch, count in evaluation_batches(training, indices, 16, ("depth",))
        for one in batch["depth"][:count]
    ]
    priors = {
        name: depth_scores(((prior, truth) for truth in truths), cap).to_json()
        for name, prior in pixel_priors(depths, cap).items()
    }
    return result | {
        "prior_abs_rel": min(prior["abs_rel"] for prior in priors.values()),
        "priors": priors,
        "protocol": f"median scaling per image, cap {cap:g} m",
    }


def run_job(config, workdir: Workdir) -> None:
    """Evaluates whatever the workdir holds.

    Raises:
      ConfigError: there is nothing to evaluate.
    """
    present = [stage for stage in ("pretrain_depth", "baseline", "train") if workdir.finished(stage)]
    if not present:
        raise ConfigError(f"{workdir.root} holds no finished training to evaluate; run --job=train first")
    for stage in present:
        check_stage(config, workdir, stage)
    dataset = common.open_split(config, config.evaluation.split)
    with workdir.stage("evaluate", config) as metrics:
        if "pretrain_depth" in present and "depth" in dataset.fields:
            training = common.open_split(config, "train")
            folder = workdir.folder("pretrain_depth") / "checkpoints"
            metrics["depth"] = evaluate_depth(config, dataset, training, folder)
        for stage, name in (("baseline", "baseline"), ("train", "method")):
            if stage in present:
                own = baseline_config(config) if stage == "baseline" else config
                folder, network = workdir.folder(stage) / "checkpoints", config.evaluation.network
                if network == "teacher" and not own.segmentation.pseudo_labels:
                    network = "student"  # purely supervised training has no teacher
                predict = predict_labels(common.segmentation_network(own))
                result = evaluate_segmentation(own, dataset, predict, load_variables(folder, network))
                metrics[name] = result.to_json() | {"network": network}
                metrics["labels"] = len(json.loads((workdir.folder(stage) / "labeled.json").read_text())["ids"])
    write_summary(workdir, metrics)


def write_summary(workdir: Workdir, metrics: dict) -> None:
    """Writes `metrics.json` of the whole run: scores, number of labels, seconds per stage."""
    records = {stage: workdir.record(stage) for stage in FOLDERS}
    seconds = {stage: record["seconds"] for stage, record in records.items() if record}
    write_json(workdir.root / "metrics.json", {**metrics, "seconds": seconds})
