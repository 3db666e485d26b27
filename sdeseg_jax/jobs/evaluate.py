"""Job `evaluate`: depth, ego-motion, and segmentation of method and baseline, into `evaluation/`."""

import logging
import re

from sdeseg_jax.config import UserError, baseline_config, uses_pool
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.evaluation.segmentation_metrics import SegmentationScores
from sdeseg_jax.inference.sliding_window import read_inference
from sdeseg_jax.jobs.evaluating.depth_scores import compare_with_priors, score_video
from sdeseg_jax.jobs.evaluating.segmentation_scores import evaluate_segmentation, predict_labels
from sdeseg_jax.runs import build_networks, open_datasets
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import FOLDERS, Workdir, check_stage
from sdeseg_jax.training.initialization import load_variables

log = logging.getLogger(__name__)


def run_job(config, workdir: Workdir) -> None:
    """Evaluates whatever the workdir holds.

    Raises:
      UserError: there is nothing to evaluate, or the list of a training's labelled frames cannot be read.
    """
    present = [stage for stage in ("pretrain_depth", "baseline", "train") if workdir.finished(stage)]
    if not present:
        raise UserError(f"{workdir.root} holds no finished training to evaluate; run --job=train first")
    for stage in present:
        check_stage(config, workdir, stage)
    labels = [len(workdir.labeled_ids(stage)) for stage in present if stage != "pretrain_depth"]
    dataset = open_datasets.open_evaluation(config)
    with workdir.stage("evaluate", config) as metrics:
        if dataset is None:
            log.warning("%s has no validation split: nothing is scored", config.data.name)
        else:
            evaluate_present(config, workdir, dataset, present, metrics)
            if any(name in metrics for name in ("baseline", "method")):
                metrics["labels"] = labels[-1]
    write_summary(workdir, metrics)


def evaluate_present(config, workdir: Workdir, dataset: FrameDataset, present: list[str], metrics: dict) -> None:
    """Adds the scores of finished stages to `metrics`, as far as the split has depth, video or labels."""
    if "pretrain_depth" in present and config.evaluation.depth:
        folder = workdir.folder("pretrain_depth") / "checkpoints"
        if "depth" in dataset.fields:
            try:
                metrics["depth"] = compare_with_priors(config, dataset, open_datasets.open_training(config), folder)
            except ValueError as error:  # Cityscapes prepared without its disparity package
                log.warning("%s/%s: depth is not scored: %s", dataset.name, dataset.split, error)
        if len(dataset.index.with_neighbours) and config.depth.supervision == "self":
            metrics["video"] = score_video(config, dataset, folder)
        if not metrics:
            log.warning("%s/%s has neither depth nor video: depth is not scored", dataset.name, dataset.split)
    segmented = [stage for stage in ("baseline", "train") if stage in present]
    if not segmented and not config.evaluation.depth:
        log.warning("nothing is scored: the run has only a depth network, and config.evaluation.depth=False")
    if segmented and not len(dataset.index.labeled):
        log.warning("%s/%s has no labels: segmentation is not scored", dataset.name, dataset.split)
        return
    inference = read_inference(config, open_datasets.open_training(config).image_size)
    dataset = open_datasets.open_scored_labels(config, dataset)
    for stage in segmented:
        own = baseline_config(config) if stage == "baseline" else config
        folder, network = workdir.folder(stage) / "checkpoints", config.evaluation.network
        if network == "teacher" and not uses_pool(own.segmentation):
            network = "student"  # purely supervised training has no teacher
        predict = predict_labels(build_networks.segmentation_network(own), inference)
        result = evaluate_segmentation(own, dataset, predict, load_variables(folder, network), inference)
        name = {"baseline": "baseline", "train": "method"}[stage]
        write_json(workdir.folder("evaluate") / f"{name}_{_file_name(result)}.json", result.to_json())
        metrics[name] = result.to_json() | {"network": network}


def _file_name(result: SegmentationScores) -> str:
    """Returns a name with protocol and inference in it, so that each way of scoring keeps a file of its own."""
    return re.sub(r"[^\w.]+", "-", f"{result.protocol} {result.inference}")


def write_summary(workdir: Workdir, metrics: dict) -> None:
    """Writes `metrics.json` of the whole run: scores, number of labels, seconds per stage.

    Confusion matrices stay in `evaluation/`: hundreds of numbers would bury the scores.
    """
    records = {stage: workdir.record(stage) for stage in FOLDERS}
    seconds = {stage: record["seconds"] for stage, record in records.items() if record}
    short = dict(metrics)
    for name in {"baseline", "method"} & short.keys():
        short[name] = {key: value for key, value in short[name].items() if key != "confusion"}
    write_json(workdir.root / "metrics.json", {**short, "seconds": seconds})
