"""Job `report`: `report/index.html`, one self-contained page about whatever the workdir holds."""

import logging
from collections.abc import Callable

import numpy as np

from sdeseg_jax.config import UserError, baseline_config, flatten, needs_source_disparity, uses_pool
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.depth.camera import disparity_to_depth
from sdeseg_jax.jobs.estimate_depth import predict_disparity
from sdeseg_jax.jobs.evaluating.segmentation_scores import predict_labels
from sdeseg_jax.jobs.reporting.adaptation_examples import adaptation
from sdeseg_jax.jobs.reporting.predict_shown_frames import predict_in_batches, predict_pseudo_labels, read_frames
from sdeseg_jax.jobs.reporting.run_facts import environment, newest_command, notices, run_facts, stage_facts
from sdeseg_jax.jobs.train import pool_frames, stored_disparities
from sdeseg_jax.report import panels, picture_sections
from sdeseg_jax.report.confusion_section import confusion_section
from sdeseg_jax.report.html_markup import Html, page
from sdeseg_jax.report.run_section import run_section, summary
from sdeseg_jax.report.scores_section import NETWORKS, class_scores
from sdeseg_jax.report.shown_frames import pair_frames, spread_frames
from sdeseg_jax.report.svg_charts import read_metrics
from sdeseg_jax.report.training_charts import curves
from sdeseg_jax.runs import build_networks, labeled_frames, open_datasets
from sdeseg_jax.runs.workdir import FOLDERS, LABELED, Workdir, check_stage
from sdeseg_jax.storage.atomic_files import atomic_write
from sdeseg_jax.storage.json_files import read_json
from sdeseg_jax.training.checkpoints import CheckpointError
from sdeseg_jax.training.collapse_alarms import ALARMS
from sdeseg_jax.training.initialization import load_variables
from sdeseg_jax.training.multi_host import is_first

TRAININGS = {
    "pretrain_depth": "depth",
    "pretrain_source_depth": "depth of the source",
    "baseline": "baseline",
    "train": "method",
}
"""Stage -> its name in the report."""

COLLAPSE_BOUNDS = {alarm.metric: alarm.bound for alarm in ALARMS if alarm.collapse}
FRAMES = 4
"""Number of validation frames shown."""

PAIRS = 3
"""Number of DepthMix pairs shown."""


def run_job(config, workdir: Workdir) -> None:
    """Writes the report.

    Raises:
      UserError: the workdir holds no finished training, or one with other settings.
    """
    finished = [stage for stage in FOLDERS if stage != "report" and workdir.finished(stage)]
    if not any(stage in TRAININGS for stage in finished):
        raise UserError(f"{workdir.root} holds no finished training to report; run --job=pipeline first")
    for stage in finished:
        check_stage(config, workdir, stage)
    with workdir.stage("report", config) as metrics:
        content = [section for section in make_sections(config, workdir, finished) if section[-1]]
        text = page(f"sdeseg_jax: {config.data.name}, {workdir.root.name}", content)
        path = workdir.folder("report") / "index.html"
        if is_first():
            atomic_write(path, text)
        metrics |= {"sections": [anchor for anchor, _, _ in content], "bytes": len(text.encode())}


def make_sections(config, workdir: Workdir, finished: list[str]) -> list[tuple[str, str, Html]]:
    """Returns (anchor, heading, content) of every section; content is empty where the finished stages give none."""
    scores = workdir.record("evaluate")["metrics"] if "evaluate" in finished else {}
    trainings = {name: stage for stage, name in TRAININGS.items() if stage in finished}
    logs = {name: read_metrics(workdir.folder(stage) / "metrics.jsonl") for name, stage in trainings.items()}
    classes = open_datasets.class_map(config) if any(name in scores for name in NETWORKS) else None
    labeled, gaps = labeled_ids(workdir, finished), []

    def pictures(anchor: str, heading: str, wanted: bool, make: Callable[[], Html]) -> tuple[str, str, Html]:
        try:
            return anchor, heading, make() if wanted else Html("")
        except (CheckpointError, UserError, OSError) as error:  # a report with a gap is better than none
            logging.getLogger(__name__).warning("report: %s cannot be shown: %s", heading, error)
            gaps.append(f"{heading} cannot be shown, see below.")
            return anchor, heading, picture_sections.missing(heading, error)

    depthmixed = "train" in finished and config.segmentation.mix == "depth"
    adapted = "train" in finished and needs_source_disparity(config)
    segmented = "baseline" in finished or "train" in finished
    shown = [
        ("curves", "Training", curves(logs, COLLAPSE_BOUNDS)),
        ("classes", "IoU per class", class_scores(scores, classes) if classes else Html("")),
        ("confusion", "Confusion matrix", confusion_section(scores, classes) if classes else Html("")),
        pictures("depth", "Depth", "pretrain_depth" in finished, lambda: depth(config, workdir)),
        pictures("selection", "Selected frames", "select_labels" in finished, lambda: selection(config, workdir)),
        pictures("depthmix", "DepthMix", depthmixed, lambda: depthmix(config, workdir)),
        pictures("adaptation", "Source and target mixed", adapted, lambda: adaptation(config, workdir)),
        pictures("predictions", "Predictions", segmented, lambda: predictions(config, workdir, finished)),
    ]
    warnings = [*notices(config, workdir, finished, scores, logs), *gaps]
    run = run_section(stage_facts(workdir), newest_command(workdir), environment(), labeled, flatten(config))
    return [
        ("summary", "Summary", summary(run_facts(config, labeled), scores, warnings)),
        *shown,
        ("run", "The run", run),
    ]


def labeled_ids(workdir: Workdir, finished: list[str]) -> list[str]:
    """Ids of the annotated frames that segmentation was trained on. Raises UserError if their file is damaged."""
    labeled = []
    for stage in ("baseline", "train"):
        if stage in finished and (workdir.folder(stage) / LABELED).exists():
            labeled = workdir.labeled_ids(stage)
    return labeled


def open_shown(config) -> tuple[FrameDataset, str]:
    """Returns the split to show predictions of, and a caption of its frames: training frames if there are no others."""
    dataset = open_datasets.open_evaluation(config)
    if dataset is None:
        return open_datasets.open_training(config), "Training frames, as this dataset has no validation split"
    is_validation = "val" in dataset.split
    return dataset, picture_sections.VALIDATION_FRAMES if is_validation else f"Frames of the split '{dataset.split}'"


def depth(config, workdir: Workdir) -> Html:
    """Predicted depth next to true depth, or the disparity alone."""
    variables = load_variables(workdir.folder("pretrain_depth") / "checkpoints")
    dataset, kind = open_shown(config)
    index, cap = dataset.index, config.evaluation.depth_cap
    frames = spread_frames(index.has_previous, FRAMES, index.targets)
    batch = read_frames(dataset, frames, ("image", *(("depth",) if "depth" in dataset.fields else ())))
    predict = predict_disparity(build_networks.depth_network(config))
    disparity = predict_in_batches(config, predict, variables, batch["image"])[..., 0]
    ids = [index.ids[i] for i in frames]
    if "depth" not in batch:
        return picture_sections.disparity_section(panels.disparity_rows(ids, batch["image"], disparity), kind)
    predicted = np.asarray(disparity_to_depth(disparity, config.depth.min_depth, config.depth.max_depth))
    truth = batch["depth"][..., 0]
    rows = panels.depth_rows(ids, batch["image"], predicted, truth, cap)
    return picture_sections.depth_section(rows, panels.nearest_depth(truth, cap), cap, kind)


def selection(config, workdir: Workdir) -> Html:
    """The selection that trainings use, or the largest one."""
    facts = workdir.record("select_labels")["metrics"]
    sizes = {total: size for size, total in facts["labels"].items()}
    wanted = config.data.labels if config.data.labels_from == "selection" else max(sizes)
    folder = workdir.folder("select_labels") / sizes.get(wanted, sizes[max(sizes)])
    path = folder.with_name(f"{folder.name}.json")
    try:
        picks = read_json(path)["picks"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}. Remove it, and --job=select_labels writes it again") from error
    return picture_sections.selection_section(folder, facts, picks)


def depthmix(config, workdir: Workdir) -> Html:
    """Pairs of training frames, mixed as `train` mixes them."""
    settings, folder = config.segmentation, workdir.folder("train")
    variables = load_variables(folder / "checkpoints", "teacher")
    dataset = open_datasets.open_training(config)
    labeled = labeled_frames.labeled_frames(config, dataset, workdir)
    frames = pair_frames(pool_frames(config, dataset, labeled), labeled, PAIRS)
    stored = settings.mix_disparity == "precomputed"
    disparities = stored_disparities(workdir, "estimate_depth", dataset, frames) if stored else None
    batch = read_frames(dataset, frames, ("image", "label", *(("disparity",) if stored else ())), disparities)
    predict = predict_pseudo_labels(build_networks.segmentation_network(config))
    label, confidence, disparity = predict_in_batches(config, predict, variables, batch["image"])
    margin_and_threshold = settings.mix_margin, settings.confidence_threshold
    pairs = panels.mix_pairs(
        [dataset.index.ids[f] for f in frames],
        np.isin(frames, labeled),
        batch["image"],
        (label, confidence),
        batch["label"],
        batch["disparity"] if stored else disparity,
        *margin_and_threshold,
    )
    source = "the depth network, stored by estimate_depth" if stored else "the teacher's own depth branch"
    rows = [panels.depthmix_rows(pair, dataset.classes) for pair in pairs]
    return picture_sections.depthmix_section(rows, *margin_and_threshold, source, dataset.classes)


def predictions(config, workdir: Workdir, finished: list[str]) -> Html:
    """Labels that baseline and method predict, next to the true ones."""
    own_configs = {"baseline": baseline_config(config), "train": config}
    trained = {stage: own for stage, own in own_configs.items() if stage in finished}
    variables = {}
    for stage, own in trained.items():
        # As in `evaluate`: purely supervised training has no teacher.
        network = config.evaluation.network if uses_pool(own.segmentation) else "student"
        variables[stage] = load_variables(workdir.folder(stage) / "checkpoints", network)
    dataset, kind = open_shown(config)
    if not len(dataset.index.labeled):
        raise UserError(f"{dataset.name}/{dataset.split} has no labels")
    frames = spread_frames(dataset.index.has_previous, FRAMES, dataset.index.labeled)
    batch, predicted = read_frames(dataset, frames, ("image", "label")), {}
    for stage, own in trained.items():
        predict = predict_labels(build_networks.segmentation_network(own))
        predicted[TRAININGS[stage]] = predict_in_batches(config, predict, variables[stage], batch["image"])
    ids = [dataset.index.ids[i] for i in frames]
    rows = panels.prediction_rows(ids, batch["image"], batch["label"], predicted, dataset.classes)
    return picture_sections.prediction_section(rows, dataset.classes, kind)
