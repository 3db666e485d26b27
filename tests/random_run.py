"""A finished run with random weights, written without any training."""

import pathlib

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.inference.trained_model import write_model_facts
from sdeseg_jax.runs import build_networks
from sdeseg_jax.runs.config_per_stage import relevant_settings, stage_config
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.initialization import random_variables


def write_random_run(root: pathlib.Path, config, image_size: tuple[int, int]) -> pathlib.Path:
    """Writes a workdir with a finished depth network and a finished supervised baseline of 19 classes."""
    workdir = Workdir(str(root), config)
    workdir.save_config(config)
    for stage, classes in (("pretrain_depth", None), ("baseline", CITYSCAPES)):
        own, folder = stage_config(config, stage), workdir.folder(stage)
        build = build_networks.segmentation_network if classes else build_networks.depth_network
        network = build(own, len(classes)) if classes else build(own)
        variables = random_variables(network, config.seed, config.data.crop)
        with Checkpoints(folder / "checkpoints") as checkpoints:
            checkpoints.save(0, variables)
        write_model_facts(folder, classes, image_size)
        record = {"stage": stage, "finished": True, "seconds": 0.0, "metrics": {}}
        write_json(folder / "stage.json", {**record, "config": relevant_settings(own, stage)})
    return root
