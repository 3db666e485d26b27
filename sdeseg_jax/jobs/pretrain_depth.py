"""Job `pretrain_depth`: self-supervised depth and ego-motion from video alone (Sec. 3.1), into `depth/`.

`pretrain_source_depth` does the same with the source domain's video and network (Sec. 3.5), into `source/depth/`.
"""

import jax
import numpy as np

from sdeseg_jax.config import flatten
from sdeseg_jax.data.input_pipeline import training_batches
from sdeseg_jax.data.sample_order_and_crops import Stream
from sdeseg_jax.inference.trained_model import write_model_facts
from sdeseg_jax.jobs.estimate_depth import predict_disparity
from sdeseg_jax.jobs.evaluating.depth_scores import score_depth
from sdeseg_jax.jobs.reporting.tensorboard_pictures import depth_pictures
from sdeseg_jax.runs import build_networks, crop_and_batch_checks, initial_weights, open_datasets, training_frames
from sdeseg_jax.runs.workdir import Workdir, check_borrowed
from sdeseg_jax.training.collapse_alarms import AlarmLog
from sdeseg_jax.training.depth_objective import depth_fields, make_depth_objective
from sdeseg_jax.training.initialization import random_variables
from sdeseg_jax.training.optimizers_and_schedules import depth_optimizer
from sdeseg_jax.training.replication import replicate
from sdeseg_jax.training.train_state import create_state
from sdeseg_jax.training.train_step import make_step
from sdeseg_jax.training.training_loop import Phase, run


def make_evaluation(config, predict):
    """Returns a function of the state that scores depth during training; None without true depth to score on."""
    dataset = open_datasets.open_evaluation(config)
    if dataset is None or "depth" not in dataset.fields:
        return None

    def evaluate(state) -> dict[str, float]:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        try:
            result = score_depth(config, dataset, predict, variables)
        except ValueError:  # no pixel with known depth; the training warns of it
            return {}
        return {"score": -result["abs_rel"], "abs_rel": result["abs_rel"], "rmse": result["rmse"]}

    return evaluate


def run_source(config, workdir: Workdir) -> None:
    """Trains the depth network of the source domain."""
    with open_datasets.source_domain(config) as own:
        run_job(own, workdir, "pretrain_source_depth")


def run_job(config, workdir: Workdir, stage: str = "pretrain_depth") -> None:
    """Trains depth and pose networks; resumes an interrupted training; does nothing if it is finished."""
    if check_borrowed(config, workdir, stage):
        return
    crop_and_batch_checks.check_batch(config, "depth.batch_size")
    dataset = open_datasets.open_video(config)
    crop_and_batch_checks.check_images(config, dataset)
    frames = training_frames.depth_training_frames(config, dataset)
    training_frames.tell_left_out(config, dataset)
    with workdir.stage(stage, config) as metrics:
        write_model_facts(workdir.folder(stage), None, dataset.image_size)
        network = build_networks.depth_network(config)
        variables = random_variables(network, config.seed, config.data.crop)
        variables = initial_weights.initialize(variables, config.model, config.init, records=metrics)
        reference = None
        if config.depth.feature_distance_weight:
            reference = {key: {"encoder": variables[key]["encoder"]} for key in ("params", "batch_stats")}
        optimizer = depth_optimizer(config.depth)
        state = create_state(variables, optimizer, reference=reference)

        def phase(until: int, frozen: bool) -> Phase:
            objective = make_depth_objective(network, config.depth, frozen)
            return Phase(until, replicate(make_step(objective, optimizer), seed=np.uint32(config.seed)))

        phases = [phase(config.depth.steps, frozen=False)]
        if config.depth.frozen_steps:
            phases.insert(0, phase(min(config.depth.frozen_steps, config.depth.steps), frozen=True))

        predict, runtime, data = predict_disparity(network), config.runtime, config.data
        host, hosts = jax.process_index(), jax.process_count()
        fields = ("image", *depth_fields(config.depth))
        streams = {"video": Stream(dataset, frames, config.depth.batch_size // hosts, fields)}
        run(
            "source depth" if stage == "pretrain_source_depth" else "depth",
            state,
            phases,
            lambda first: training_batches(
                streams, data.crop, data.flip, config.seed, first, runtime.reader_threads, host, hosts
            ),
            workdir.folder(stage),
            runtime,
            evaluate=make_evaluation(config, predict) if runtime.evaluate_every else None,
            watch=AlarmLog(config.depth.steps, runtime.stop_on_collapse),
            profile=config.profile,
            same_devices=workdir.needs_same_devices(config),
            pictures=depth_pictures(config, dataset, predict),
            hparams=flatten(config),
        )
        metrics["steps"] = config.depth.steps
