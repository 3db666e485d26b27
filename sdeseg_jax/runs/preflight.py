"""What can be known before work starts is checked before work starts, and all that is wrong is said at once."""

import logging
import shutil
from collections.abc import Collection, Sequence

import jax
import numpy as np

from sdeseg_jax.config import ConfigError, UserError, uses_pool
from sdeseg_jax.data import datasets
from sdeseg_jax.runs import build_networks, crop_and_batch_checks, open_datasets
from sdeseg_jax.runs.config_per_stage import ADVICE, SUMMARIES, another_config, stage_config
from sdeseg_jax.runs.dataset_checks import find_problems, named_datasets
from sdeseg_jax.runs.error_list import Problems
from sdeseg_jax.runs.labeled_frames import listed_ids
from sdeseg_jax.runs.stage_order import is_needless, needed_stages, used_stages
from sdeseg_jax.runs.workdir import FOLDERS, Workdir, check_borrowed
from sdeseg_jax.training.initialization import check_init, network_shapes
from sdeseg_jax.training.optimizers_and_schedules import depth_optimizer, segmentation_optimizer
from sdeseg_jax.training.train_state import create_state

log = logging.getLogger(__name__)

AMPLE = 200e9
"""Bytes of free disk space that no run needs; with less, what is planned is added up."""


def check(config, workdir: Workdir, stages: Sequence[str]) -> None:
    """Checks what some stages need: each other, weights, devices, datasets, labels, disk space, an unchanged config.

    A procedural dataset that is not there yet is not made for this; job `dataset` then checks what is in it.

    With `workdir.changed` = "redo", stages of another config are moved aside at the end, if all is well.

    Raises:
      ConfigError: all that is wrong.
    """
    problems = Problems()
    stages = [stage for stage in stages if not is_needless(workdir, stage)]
    used = {"pretrain_depth", *used_stages(config, stages)}
    for stage in workdir.borrowed:
        if stage in used and not is_needless(workdir, stage):
            problems.collect(lambda stage=stage: check_borrowed(config, workdir, stage))
    changes = _check_changes(config, workdir, stages, problems)
    redone = changes if workdir.changed == "redo" else {}
    if stages == [stage for stage in stages if stage in SUMMARIES]:  # they look at what is there themselves
        problems.raise_any()
        return _set_aside(workdir, redone)
    with workdir.hiding(redone):
        _check_stages(config, workdir, stages, problems)
    problems.raise_any()
    _set_aside(workdir, redone)


def _check_stages(config, workdir: Workdir, stages: Sequence[str], problems: Problems) -> None:

    finished = [stage for stage in stages if problems.collect(lambda stage=stage: workdir.finished(stage))]
    _check_order(config, workdir, stages, finished, problems)
    own = [stage for stage in stages if not workdir.borrows(stage) and stage not in finished]
    for stage in own:
        problems.collect(lambda stage=stage: _check_training(config, stage, problems))
        problems.collect(lambda stage=stage: _check_lists(config, stage))
    # Of a run that is complete, data is of no interest; but what a selection was made from may have changed.
    if "select_labels" in stages or len(finished) < len(stages):
        used = named_datasets(config, workdir, stages)
        if all([problems.collect(lambda one=one: datasets.is_ready(**one)) for one in used]):
            find_problems(config, workdir, stages, problems)
    if not problems.found:
        problems.collect(lambda: _check_disk(config, workdir, own))


def _check_order(config, workdir: Workdir, stages: Sequence[str], finished: Sequence[str], problems: Problems) -> None:
    """A stage may need another that is neither finished nor comes before it."""
    if not config.source.name and any(stage in stages for stage in ("pretrain_source_depth", "estimate_source_depth")):
        problems.add(ConfigError("pipeline.stages", "has stages of a source domain, but config.source.name is empty"))
        return
    for place, stage in enumerate(stages):
        for other, why in needed_stages(config, stage).items():
            if stage in finished or other in stages[:place] or is_needless(workdir, other):
                continue
            if len(stages) > 1:
                why = f"config.pipeline.stages: no '{other}' before '{stage}', but {why}"
            problems.collect(lambda other=other, why=why: workdir.require(other, why))


def _check_changes(config, workdir: Workdir, stages: Sequence[str], problems: Problems) -> dict[str, list[str]]:
    """Finds stages that were made with another config: stage -> differences. They are a problem unless
    `workdir.changed` says otherwise; to be done anew, a stage has to be one of `stages`."""
    used = used_stages(config, stages)
    if used <= {*SUMMARIES}:  # they tell of whatever there is
        used |= {stage for stage in ("pretrain_depth", "baseline", "train") if workdir.finished(stage)}
    changes = {}
    for stage in FOLDERS:
        if stage in used and not workdir.borrows(stage):
            lines = problems.collect(lambda stage=stage: workdir.changes(stage, stage_config(config, stage)))
            if lines:
                changes[stage] = lines
    if not changes:
        return {}
    lines = list(dict.fromkeys(line for found in changes.values() for line in found))
    what, shown = ", ".join(f"{stage} ({FOLDERS[stage]}/)" for stage in changes), "\n  ".join(lines)
    unwanted = [stage for stage in changes if stage not in stages]
    if workdir.changed == "keep":
        log.warning("made with another config, and used all the same: %s\n  %s", what, shown)
    elif workdir.changed == "redo" and not unwanted:
        log.warning("made with another config, and computed anew: %s\n  %s", what, shown)
    elif len(changes) == 1:
        problems.add(another_config(workdir.folder(*changes), lines))
    else:
        problems.add(UserError(f"{workdir.root} holds what was made with another config: {what}\n  {shown}\n{ADVICE}"))
    return changes


def _set_aside(workdir: Workdir, stages: Collection[str]) -> None:
    if stages:
        log.warning("what was there is now in %s", workdir.set_aside(stages))


def _check_training(config, stage: str, problems: Problems) -> None:
    """Batches have to suit the devices; networks to be possible, and to fit `config.init`."""
    if stage == "select_labels":
        return  # looked at with its candidates
    if stage in ("pretrain_depth", "pretrain_source_depth", "baseline", "train"):
        own = stage_config(config, stage)
        segmentation = stage in ("baseline", "train")
        key = "segmentation.batch_size" if segmentation else "depth.batch_size"
        problems.collect(lambda: crop_and_batch_checks.check_devices(own, key))
        if segmentation and not _has_known_classes(own):
            return
        if not segmentation:
            problems.collect(lambda: _check_first_encoder(own, "source.depth" if "source" in stage else "depth"))
        network = build_networks.segmentation_network(own) if segmentation else build_networks.depth_network(own)
        for part, folder in own.init.items():
            if folder:
                problems.collect(lambda part=part, folder=folder: check_init(network, own.data.crop, {part: folder}))


def _check_first_encoder(config, section: str) -> None:
    """Raises ConfigError if depth training would keep an encoder at, or near, random weights.

    Args:
      config: of the stage.
      section: where the user gave its settings of depth.
    """
    depth = config.depth
    settings = {"frozen_steps": depth.frozen_steps, "feature_distance_weight": depth.feature_distance_weight}
    kept = [f"config.{section}.{name} = {value:g}" for name, value in settings.items() if value]
    if kept and not config.init.encoder:
        off = " ".join(f"--config.{section}.{name}=0" for name, value in settings.items() if value)
        raise ConfigError(
            "init.encoder",
            f"empty, so that the encoder starts from random weights, and {' and '.join(kept)} "
            "would keep it there. Give it ImageNet's, --config.init.encoder=weights/resnet101 (as "
            f"scripts/import_weights.py writes them; the pose network wants --config.init.pose, too), or train it from "
            f"the first step: {off}",
        )


def _check_lists(config, stage: str) -> None:
    """Raises ConfigError if a list of ids that a stage reads is none; whether the dataset has them is seen there."""
    if stage in ("baseline", "train") and config.data.labels_file:
        listed_ids(config.data.labels_file, "data.labels_file")
    elif stage == "select_labels" and config.selection.existing not in ("", "annotated"):
        listed_ids(config.selection.existing, "selection.existing")


def _has_known_classes(config) -> bool:
    """Whether they can be told without complaint; of datasets that are not there, others complain."""
    try:
        open_datasets.class_map(config)
    except UserError:
        return False
    return True


def _check_disk(config, workdir: Workdir, stages: Sequence[str]) -> None:
    """Raises ConfigError if the checkpoints and disparity maps that are planned have no room on the disk."""
    place = workdir.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free > AMPLE:
        return
    planned = {}
    for stage in stages:
        there = sum(path.stat().st_size for path in workdir.folder(stage).rglob("*") if path.is_file())
        if (size := planned_bytes(config, stage) - there) > 0:
            planned[stage] = size
    if sum(planned.values()) > free:
        listed = ", ".join(f"{stage} {size / 1e9:.2g}" for stage, size in planned.items())
        raise UserError(
            f"--workdir={workdir.root}: about {sum(planned.values()) / 1e9:.2g} GB are needed ({listed}), "
            f"{free / 1e9:.2g} GB are free. Free some space, use another disk, or keep fewer checkpoints "
            f"(config.runtime.keep_checkpoints = {config.runtime.keep_checkpoints})."
        )


def planned_bytes(config, stage: str) -> int:
    """Bytes that a stage will take on the disk, roughly: checkpoints (one more while it is written), disparity."""
    own = stage_config(config, stage)
    if stage in ("estimate_depth", "estimate_source_depth"):
        try:
            dataset = open_datasets.open_training(own)
        except UserError:
            return 0
        height, width = dataset.image_size
        return 2 * height * width * len(dataset.index.targets)
    if stage in ("pretrain_depth", "pretrain_source_depth"):
        network, optimizer, teacher = build_networks.depth_network(own), depth_optimizer(own.depth), False
    elif stage in ("baseline", "train") and _has_known_classes(own):
        network, optimizer = build_networks.segmentation_network(own), segmentation_optimizer(own.segmentation)
        teacher = uses_pool(own.segmentation)
    else:
        return 0
    shapes = network_shapes(network, own.data.crop)
    state = jax.eval_shape(lambda variables: create_state(variables, optimizer, teacher), shapes)
    size = sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    section = own.segmentation if stage in ("baseline", "train") else own.depth
    saves = -(-section.steps // config.runtime.checkpoint_every)
    return size * (min(config.runtime.keep_checkpoints, saves) + 1)
