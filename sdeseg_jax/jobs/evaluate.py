"""Job `evaluate`: depth, ego-motion, and segmentation of method and baseline, into `evaluation/`."""

import logging
import re

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.config import ConfigError, baseline_config, uses_pool
from sdeseg_jax.data.frames import FrameDataset
from sdeseg_jax.data.pipeline import evaluation_batches
from sdeseg_jax.evaluation.inference import Inference, class_probabilities, inference_of
from sdeseg_jax.evaluation.segmentation import SegmentationScores, confusion_matrix, scores
from sdeseg_jax.jobs import common
from sdeseg_jax.jobs.evaluate_depth import compare_with_priors, score_video
from sdeseg_jax.jobs.workdir import FOLDERS, Workdir, check_stage, write_json
from sdeseg_jax.training.hosts import total
from sdeseg_jax.training.initialization import load_variables
from sdeseg_jax.training.replication import replicate_inference, round_up

log = logging.getLogger(__name__)


def predict_labels(network, inference: Inference = Inference()):  # noqa: B008  (frozen)
    """Function of (variables, images [B, H, W, 3]) -> labels uint8 [B, H, W], on all devices."""

    def function(variables, images: jax.Array) -> jax.Array:
        def predict(inputs):
            return network.apply(variables, inputs, train=False).logits

        return jnp.argmax(class_probabilities(predict, images, inference), axis=-1).astype(jnp.uint8)

    return replicate_inference(function)


def evaluate_segmentation(
    config,
    dataset: FrameDataset,
    predict,
    variables,
    inference: Inference = Inference(),  # noqa: B008
) -> SegmentationScores:
    """Scores network variables on every annotated frame of a split; several hosts share the frames out.

    Args:
      predict: of `predict_labels`, with the same `inference`.
      variables: {"params": ..., "batch_stats": ...}.
    """
    confusion = np.zeros((len(dataset.classes),) * 2, np.int64)
    batch_size = round_up(config.evaluation.batch_size)
    frames = dataset.index.labeled[jax.process_index() :: jax.process_count()]
    batches = evaluation_batches(dataset, frames, batch_size, ("image", "label")) if len(frames) else ()
    for batch, count in batches:
        predicted = predict(variables, batch["image"])[:count]
        confusion += confusion_matrix(predicted, batch["label"][:count], len(dataset.classes))
    confusion = total(confusion)
    protocol = inference.describe(dataset.image_size)
    return scores(confusion, dataset.classes, len(dataset.index.labeled), protocol)


def run_job(config, workdir: Workdir) -> None:
    """Evaluates whatever the workdir holds.

    Raises:
      ConfigError: there is nothing to evaluate, or it is not known how many labels a training had.
    """
    present = [stage for stage in ("pretrain_depth", "baseline", "train") if workdir.finished(stage)]
    if not present:
        raise ConfigError(f"{workdir.root} holds no finished training to evaluate; run --job=train first")
    for stage in present:
        check_stage(config, workdir, stage)
    labels = [len(workdir.labeled_ids(stage)) for stage in present if stage != "pretrain_depth"]
    dataset = common.open_evaluation(config)
    with workdir.stage("evaluate", config) as metrics:
        if dataset is None:
            log.warning("%s has no validation split: nothing is scored", config.data.name)
        else:
            evaluate_present(config, workdir, dataset, present, metrics)
            if any(name in metrics for name in ("baseline", "method")):
                metrics["labels"] = labels[-1]
    write_summary(workdir, metrics)


def evaluate_present(config, workdir: Workdir, dataset: FrameDataset, present: list[str], metrics: dict) -> None:
    """Puts the scores of finished stages into `metrics`, as far as the split has depth, video or labels."""
    if "pretrain_depth" in present and config.evaluation.depth:
        folder = workdir.folder("pretrain_depth") / "checkpoints"
        if "depth" in dataset.fields:
            try:
                metrics["depth"] = compare_with_priors(config, dataset, common.open_training(config), folder)
            except ValueError as error:  # Cityscapes prepared without its disparity package
                log.warning("%s/%s: depth is not scored: %s", dataset.name, dataset.split, error)
        if len(dataset.index.with_neighbours) and config.depth.supervision == "self":
            metrics["video"] = score_video(config, dataset, folder)
        if not metrics:
            log.warning("%s/%s has neither depth nor video: depth is not scored", dataset.name, dataset.split)
    segmented = [stage for stage in ("baseline", "train") if stage in present]
    if not segmented and not config.evaluation.depth:
        log.warning("nothing is scored: there is a depth network alone, and config.evaluation.depth=False")
    if segmented and not len(dataset.index.labeled):
        log.warning("%s/%s has no labels: segmentation is not scored", dataset.name, dataset.split)
        return
    inference = inference_of(config, common.open_training(config).image_size)
    dataset = common.open_scored_labels(config, dataset)
    for stage in segmented:
        own = baseline_config(config) if stage == "baseline" else config
        folder, network = workdir.folder(stage) / "checkpoints", config.evaluation.network
        if network == "teacher" and not uses_pool(own.segmentation):
            network = "student"  # purely supervised training has no teacher
        predict = predict_labels(common.segmentation_network(own), inference)
        result = evaluate_segmentation(own, dataset, predict, load_variables(folder, network), inference)
        name = {"baseline": "baseline", "train": "method"}[stage]
        write_json(workdir.folder("evaluate") / f"{name}_{_file_name(result)}.json", result.to_json())
        metrics[name] = result.to_json() | {"network": network}


def _file_name(result: SegmentationScores) -> str:
    """Of the protocol: a file for each way of scoring, so that another does not replace it."""
    return re.sub(r"[^\w.]+", "-", f"{result.protocol} {result.inference}")


def write_summary(workdir: Workdir, metrics: dict) -> None:
    """Writes `metrics.json` of the whole run: scores, number of labels, seconds per stage.

    Confusion matrices are left to `evaluation/`: hundreds of numbers would bury the scores.
    """
    records = {stage: workdir.record(stage) for stage in FOLDERS}
    seconds = {stage: record["seconds"] for stage, record in records.items() if record}
    short = dict(metrics)
    for name in {"baseline", "method"} & short.keys():
        short[name] = {key: value for key, value in short[name].items() if key != "confusion"}
    write_json(workdir.root / "metrics.json", {**short, "seconds": seconds})
