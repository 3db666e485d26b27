"""Checks before a run that the disk has room for the files that it will write."""

import shutil
from collections.abc import Sequence

import jax
import numpy as np

from sdeseg_jax.config import UserError, uses_pool
from sdeseg_jax.runs import build_networks, open_datasets
from sdeseg_jax.runs.config_per_stage import stage_config
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.initialization import network_shapes
from sdeseg_jax.training.optimizers_and_schedules import depth_optimizer, segmentation_optimizer
from sdeseg_jax.training.train_state import create_state

AMPLE = 200e9
"""More free disk space than any run needs, in bytes; with less, the planned files are added up."""


def check_disk(config, workdir: Workdir, stages: Sequence[str]) -> None:
    """Raises UserError if the disk has no room for the planned checkpoints and disparity maps."""
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
            f"--workdir={workdir.root}: about {sum(planned.values()) / 1e9:.2g} GB are needed ({listed}), but only "
            f"{free / 1e9:.2g} GB are free. Free some space, use another disk, or keep fewer checkpoints "
            f"(config.runtime.keep_checkpoints = {config.runtime.keep_checkpoints})."
        )


def planned_bytes(config, stage: str) -> int:
    """Returns roughly how many bytes a stage will write: disparity; checkpoints, one more while it is written."""
    own = stage_config(config, stage)
    if stage in ("estimate_depth", "estimate_source_depth"):
        try:
            dataset = open_datasets.open_training(own)
        except UserError:
            return 0
        height, width = dataset.image_size
        return 2 * height * width * len(dataset.index.targets)
    if stage in ("pretrain_depth", "pretrain_source_depth"):
        training, teacher = own.depth, False
        network, optimizer = build_networks.depth_network(own), depth_optimizer(training)
    elif stage in ("baseline", "train") and open_datasets.has_known_classes(own):
        training, teacher = own.segmentation, uses_pool(own.segmentation)
        network, optimizer = build_networks.segmentation_network(own), segmentation_optimizer(training)
    else:
        return 0
    shapes = network_shapes(network, own.data.crop)
    state = jax.eval_shape(lambda variables: create_state(variables, optimizer, teacher), shapes)
    size = sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    saves = -(-training.steps // config.runtime.checkpoint_every)
    return size * (min(config.runtime.keep_checkpoints, saves) + 1)
