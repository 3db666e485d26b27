"""Checks everything that can be checked before work starts, and reports all problems together."""

import logging
from collections.abc import Collection, Sequence

from sdeseg_jax.config import ConfigError, UserError
from sdeseg_jax.data import datasets
from sdeseg_jax.runs import build_networks, crop_and_batch_checks, initial_weights, open_datasets
from sdeseg_jax.runs.config_per_stage import ADVICE, SUMMARIES, another_config, stage_config
from sdeseg_jax.runs.dataset_checks import check_datasets, named_datasets
from sdeseg_jax.runs.disk_space import check_disk
from sdeseg_jax.runs.error_list import Problems
from sdeseg_jax.runs.labeled_frames import listed_ids
from sdeseg_jax.runs.required_stages import is_unused, needed_stages, used_stages
from sdeseg_jax.runs.workdir import FOLDERS, Workdir, check_borrowed

log = logging.getLogger(__name__)


def check(config, workdir: Workdir, stages: Sequence[str]) -> None:
    """Checks what some stages need: each other, weights, devices, datasets, labels, disk space, an unchanged config.

    A procedural dataset is not generated for this; job `dataset` then checks its contents. With `workdir.changed` =
    "redo", stages of another config are moved aside at the end if no problem was found.

    Raises:
      UserError, CheckpointError: the only problem, or one UserError with all problems.
    """
    problems = Problems()
    stages = [stage for stage in stages if not is_unused(workdir, stage)]
    used = {"pretrain_depth", *used_stages(config, stages)}
    for stage in workdir.borrowed:
        if stage in used and not is_unused(workdir, stage):
            problems.collect(check_borrowed, config, workdir, stage)
    changes = _check_changes(config, workdir, stages, problems)
    redone = changes if workdir.changed == "redo" else {}
    if set(stages) <= {*SUMMARIES}:  # these check for themselves what is there
        problems.raise_any()
        return _set_aside(workdir, redone)
    with workdir.hiding(redone):
        _check_stages(config, workdir, stages, problems)
    problems.raise_any()
    _set_aside(workdir, redone)


def _check_stages(config, workdir: Workdir, stages: Sequence[str], problems: Problems) -> None:
    finished = [stage for stage in stages if problems.collect(workdir.finished, stage)]
    _check_order(config, workdir, stages, finished, problems)
    own = [stage for stage in stages if not workdir.borrows(stage) and stage not in finished]
    for stage in own:
        problems.collect(_check_training, config, stage, problems)
        problems.collect(_check_lists, config, stage)
    # A complete run reads no data; but a selection has to notice that its frames changed.
    if "select_labels" in stages or len(finished) < len(stages):
        used = named_datasets(config, workdir, stages)
        if all([problems.collect(lambda one=one: datasets.is_ready(**one)) for one in used]):
            check_datasets(config, workdir, stages, problems)
    if not problems.found:
        problems.collect(check_disk, config, workdir, own)


def _check_order(config, workdir: Workdir, stages: Sequence[str], finished: Sequence[str], problems: Problems) -> None:
    """Adds a problem for each stage that needs another one that is neither finished nor comes before it."""
    if not config.source.name and any(stage in stages for stage in ("pretrain_source_depth", "estimate_source_depth")):
        problems.add(ConfigError("pipeline.stages", "has stages of a source domain, but config.source.name is empty"))
        return
    for place, stage in enumerate(stages):
        for other, why in needed_stages(config, stage).items():
            if stage in finished or other in stages[:place] or is_unused(workdir, other):
                continue
            if len(stages) > 1:
                problems.collect(workdir.require, other, f"no '{other}' before '{stage}'; {why}", "pipeline.stages")
            else:
                problems.collect(workdir.require, other, why)


def _check_changes(config, workdir: Workdir, stages: Sequence[str], problems: Problems) -> dict[str, list[str]]:
    """Returns {stage: differences} for stages that were made with another config.

    They are a problem unless `workdir.changed` says otherwise; only stages in `stages` can be redone.
    """
    used = used_stages(config, stages)
    if used <= {*SUMMARIES}:  # these summarise whatever there is
        used |= {stage for stage in ("pretrain_depth", "baseline", "train") if workdir.finished(stage)}
    changes = {}
    for stage in FOLDERS:
        if stage in used and not workdir.borrows(stage):
            changes[stage] = problems.collect(workdir.changes, stage, stage_config(config, stage))
    changes = {stage: lines for stage, lines in changes.items() if lines}
    if not changes:
        return {}
    lines = list(dict.fromkeys(line for found in changes.values() for line in found))
    what, shown = ", ".join(f"{stage} ({FOLDERS[stage]}/)" for stage in changes), "\n  ".join(lines)
    if workdir.changed == "keep":
        log.warning("made with another config, but kept: %s\n  %s", what, shown)
    elif workdir.changed == "redo" and changes.keys() <= {*stages}:
        log.warning("made with another config, computed again: %s\n  %s", what, shown)
    elif len(changes) == 1:
        problems.add(another_config(workdir.folder(*changes), lines))
    else:
        problems.add(UserError(f"{workdir.root}: stages were made with another config: {what}\n  {shown}\n{ADVICE}"))
    return changes


def _set_aside(workdir: Workdir, stages: Collection[str]) -> None:
    if stages:
        log.warning("the old results were moved to %s", workdir.set_aside(stages))


def _check_training(config, stage: str, problems: Problems) -> None:
    """Checks that a training's batch suits the devices, and that its network can be built and fits `config.init`."""
    if stage not in ("pretrain_depth", "pretrain_source_depth", "baseline", "train"):
        return  # a selection is checked with its candidates
    own, segmentation = stage_config(config, stage), stage in ("baseline", "train")
    key = "segmentation.batch_size" if segmentation else "depth.batch_size"
    problems.collect(crop_and_batch_checks.check_batch, own, key)
    if segmentation and not open_datasets.has_known_classes(own):
        return
    if not segmentation:
        problems.collect(_check_first_encoder, own, "source.depth" if "source" in stage else "depth")
    else:
        problems.collect(_check_frozen_encoder, own, "baseline" if stage == "baseline" else "segmentation")
    network = build_networks.segmentation_network(own) if segmentation else build_networks.depth_network(own)
    for part, folder in own.init.items():
        if folder:
            problems.collect(initial_weights.check, network, own.data.crop, own.model, {part: folder})


def _check_first_encoder(config, section: str) -> None:
    """Raises ConfigError if depth training would keep an encoder at or near random weights.

    Args:
      config: of the stage.
      section: where the user set its depth training: "depth" or "source.depth".
    """
    depth = config.depth
    settings = {"frozen_steps": depth.frozen_steps, "feature_distance_weight": depth.feature_distance_weight}
    kept = [f"config.{section}.{name} = {value:g}" for name, value in settings.items() if value]
    if kept and not config.init.encoder:
        off = " ".join(f"--config.{section}.{name}=0" for name, value in settings.items() if value)
        raise ConfigError(
            "init.encoder",
            f"empty, so the encoder starts from random weights, and {' and '.join(kept)} would keep it there. Start "
            "from published weights, {flag}=pretrained (and --config.init.pose=pretrained for the pose network), or "
            f"train the encoder from the first step: {off}",
        )


def _check_frozen_encoder(config, section: str) -> None:
    """Raises ConfigError if a segmentation training, whose settings `section` has, would keep random weights."""
    segmentation = config.segmentation
    if segmentation.freeze_encoder and segmentation.init_encoder == "scratch" and not config.init.encoder:
        raise ConfigError(
            f"{section}.freeze_encoder",
            "the encoder would keep random weights. Start from published ones, --config.init.encoder=pretrained, or "
            "train it: {flag}=False",
        )


def _check_lists(config, stage: str) -> None:
    """Raises ConfigError if a stage's list of ids cannot be read; the dataset checks look the ids up."""
    if stage in ("baseline", "train") and config.data.labels_file:
        listed_ids(config.data.labels_file, "data.labels_file")
    elif stage == "select_labels" and config.selection.existing not in ("", "annotated"):
        listed_ids(config.selection.existing, "selection.existing")
