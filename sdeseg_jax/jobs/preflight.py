"""What can be known before work starts is checked before work starts, and all that is wrong is said at once."""

import logging
import shutil
from collections.abc import Callable, Collection, Sequence

import jax
import numpy as np

from sdeseg_jax.config import ConfigError, baseline_config, uses_pool
from sdeseg_jax.data import datasets
from sdeseg_jax.data.labeled_subset import read_ids
from sdeseg_jax.jobs import common
from sdeseg_jax.jobs.problems import Problems
from sdeseg_jax.jobs.stage_settings import ADVICE, SUMMARIES, another_config, stage_config
from sdeseg_jax.jobs.workdir import FOLDERS, Workdir, check_borrowed
from sdeseg_jax.training.initialization import check_init, network_shapes
from sdeseg_jax.training.optimizers import depth_optimizer, segmentation_optimizer
from sdeseg_jax.training.state import create_state

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
    used = {"pretrain_depth", *_used_stages(config, stages)}
    for stage in workdir.borrowed:
        if stage in used and not is_needless(workdir, stage):
            problems.of(lambda stage=stage: check_borrowed(config, workdir, stage))
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
    from sdeseg_jax.jobs.prepare_dataset import find_problems

    finished = [stage for stage in stages if problems.of(lambda stage=stage: workdir.finished(stage))]
    _check_order(config, workdir, stages, finished, problems)
    own = [stage for stage in stages if not workdir.borrows(stage) and stage not in finished]
    for stage in own:
        problems.of(lambda stage=stage: _check_training(config, stage, problems))
        problems.of(lambda stage=stage: _check_lists(config, stage))
    # Of a run that is complete, data is of no interest; but what a selection was made from may have changed.
    if "select_labels" in stages or len(finished) < len(stages):
        used = _named_datasets(config, workdir, stages)
        if all([problems.of(lambda one=one: datasets.is_ready(**one)) for one in used]):
            find_problems(config, workdir, stages, problems)
    if not problems.found:
        problems.of(lambda: _check_disk(config, workdir, own))


def is_needless(workdir: Workdir, stage: str) -> bool:
    """Whether a stage's results are of no use: a source's depth network, where its disparity is another run's.

    That run may have had its network from elsewhere itself.
    """
    return stage == "pretrain_source_depth" and workdir.borrows("estimate_source_depth")


def needed_stages(config, stage: str) -> dict[str, str]:
    """Other stages that have to be finished before one, and why."""
    from sdeseg_jax.jobs.candidates import stages_before_selection
    from sdeseg_jax.jobs.train import required_stages

    needs: dict[str, Callable[[], dict]] = {
        "baseline": lambda: required_stages(baseline_config(config)),
        "train": lambda: required_stages(config),
        "estimate_depth": lambda: {"pretrain_depth": "'estimate_depth' needs a trained depth network"},
        "estimate_source_depth": lambda: {
            "pretrain_source_depth": "'estimate_source_depth' needs a trained depth network"
        },
        "select_labels": lambda: stages_before_selection(config),
    }
    return needs[stage]() if stage in needs else {}


def _used_stages(config, stages: Sequence[str]) -> set[str]:
    """Stages and what they need."""
    return {*stages, *(other for stage in stages for other in needed_stages(config, stage))}


def _check_order(config, workdir: Workdir, stages: Sequence[str], finished: Sequence[str], problems: Problems) -> None:
    """A stage may need another that is neither finished nor comes before it."""
    if not config.source.name and any(stage in stages for stage in ("pretrain_source_depth", "estimate_source_depth")):
        problems.add("config.pipeline.stages has stages of a source domain, but config.source.name is empty")
        return
    for place, stage in enumerate(stages):
        for other, why in needed_stages(config, stage).items():
            if stage in finished or other in stages[:place] or is_needless(workdir, other):
                continue
            if len(stages) > 1:
                why = f"config.pipeline.stages: no '{other}' before '{stage}', but {why}"
            problems.of(lambda other=other, why=why: workdir.require(other, why))


def _check_changes(config, workdir: Workdir, stages: Sequence[str], problems: Problems) -> dict[str, list[str]]:
    """Finds stages that were made with another config: stage -> differences. They are a problem unless
    `workdir.changed` says otherwise; to be done anew, a stage has to be one of `stages`."""
    used = _used_stages(config, stages)
    if used <= {*SUMMARIES}:  # they tell of whatever there is
        used |= {stage for stage in ("pretrain_depth", "baseline", "train") if workdir.finished(stage)}
    changes = {}
    for stage in FOLDERS:
        if stage in used and not workdir.borrows(stage):
            lines = problems.of(lambda stage=stage: workdir.changes(stage, stage_config(config, stage)))
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
        problems.add(str(another_config(workdir.folder(*changes), lines)))
    else:
        problems.add(f"{workdir.root} holds what was made with another config: {what}\n  {shown}\n{ADVICE}")
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
        problems.of(lambda: common.check_devices(own, key))
        if segmentation and not _has_known_classes(own):
            return
        if not segmentation:
            problems.of(lambda: _check_first_encoder(own))
        network = common.segmentation_network(own) if segmentation else common.depth_network(own)
        for part, folder in own.init.items():
            if folder:
                problems.of(lambda part=part, folder=folder: check_init(network, own.data.crop, {part: folder}))


def _check_first_encoder(config) -> None:
    """Raises ConfigError if depth training would keep an encoder at, or near, random weights."""
    depth = config.depth
    settings = {"frozen_steps": depth.frozen_steps, "feature_distance_weight": depth.feature_distance_weight}
    kept = [f"config.depth.{name} = {value:g}" for name, value in settings.items() if value]
    if kept and not config.init.encoder:
        off = " ".join(f"--config.depth.{name}=0" for name, value in settings.items() if value)
        raise ConfigError(
            f"config.init.encoder: empty, so that the encoder starts from random weights, and {' and '.join(kept)} "
            "would keep it there. Give it ImageNet's, --config.init.encoder=weights/resnet101 (as "
            f"scripts/import_weights.py writes them; the pose network wants --config.init.pose, too), or train it from "
            f"the first step: {off}"
        )


def _check_lists(config, stage: str) -> None:
    """Raises ConfigError if a list of ids that a stage reads is none; whether the dataset has them is seen there."""
    key, file = "", ""
    if stage in ("baseline", "train"):
        key, file = "config.data.labels_file", config.data.labels_file
    elif stage == "select_labels" and config.selection.existing != "annotated":
        key, file = "config.selection.existing", config.selection.existing
    try:
        if file:
            read_ids(file, key)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _has_known_classes(config) -> bool:
    """Whether they can be told without complaint; of datasets that are not there, others complain."""
    try:
        common.class_map(config)
    except ConfigError:
        return False
    return True


def _named_datasets(config, workdir: Workdir, stages: Sequence[str]) -> list[dict]:
    """Datasets that stages will open, as arguments of `datasets.is_ready`."""
    from sdeseg_jax.jobs.prepare_dataset import learns_source_depth, needs_source

    sections = {"data": config.data}
    if "pretrain_depth" in stages and not workdir.borrows("pretrain_depth"):
        sections["video"] = config.video
    if needs_source(config, stages):
        sections["source"] = config.source
    if learns_source_depth(config, workdir, stages):
        sections["source.video"] = config.source.video
    named: dict[tuple, dict] = {}
    for key, one in sections.items():
        options = one.options.to_dict()
        arguments = dict(name=one.name, data_dir=config.data.data_dir, options=options, variant=one.variant, key=key)
        if one.name:  # what several sections name is complained of once
            named.setdefault((one.name, one.variant, str(options)), arguments)
    return list(named.values())


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
        raise ConfigError(
            f"--workdir={workdir.root}: about {sum(planned.values()) / 1e9:.2g} GB are needed ({listed}), "
            f"{free / 1e9:.2g} GB are free. Free some space, use another disk, or keep fewer checkpoints "
            f"(config.runtime.keep_checkpoints = {config.runtime.keep_checkpoints})."
        )


def planned_bytes(config, stage: str) -> int:
    """Bytes that a stage will take on the disk, roughly: checkpoints (one more while it is written), disparity."""
    own = stage_config(config, stage)
    if stage in ("estimate_depth", "estimate_source_depth"):
        try:
            dataset = common.open_training(own)
        except ConfigError:
            return 0
        height, width = dataset.image_size
        return 2 * height * width * len(dataset.index.targets)
    if stage in ("pretrain_depth", "pretrain_source_depth"):
        network, optimizer, teacher = common.depth_network(own), depth_optimizer(own.depth), False
    elif stage in ("baseline", "train") and _has_known_classes(own):
        network, optimizer = common.segmentation_network(own), segmentation_optimizer(own.segmentation)
        teacher = uses_pool(own.segmentation)
    else:
        return 0
    shapes = network_shapes(network, own.data.crop)
    state = jax.eval_shape(lambda variables: create_state(variables, optimizer, teacher), shapes)
    size = sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    section = own.segmentation if stage in ("baseline", "train") else own.depth
    saves = -(-section.steps // config.runtime.checkpoint_every)
    return size * (min(config.runtime.keep_checkpoints, saves) + 1)
