"""Job `train`: semi-supervised segmentation (Sec. 3.3, 3.4), also with a source domain (3.5), into `segmentation/`.

The supervised baseline goes into `baseline/`.
"""

import jax
import numpy as np

from sdeseg_jax.config import (
    UserError,
    baseline_config,
    flatten,
    mixes_by_stored_disparity,
    needs_disparity,
    needs_source_disparity,
    uses_matching,
    uses_pool,
    uses_source,
)
from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches, training_batches
from sdeseg_jax.data.sample_order_and_crops import Matching, Stream, mean_differences
from sdeseg_jax.data.stored_geometry import geometry_stride, open_geometry
from sdeseg_jax.inference.trained_model import write_model_facts
from sdeseg_jax.jobs.evaluating.segmentation_scores import evaluate_segmentation, predict_labels
from sdeseg_jax.jobs.reporting.tensorboard_pictures import segmentation_pictures
from sdeseg_jax.mixing.segmentation_cross_entropy import inverse_frequency_weights
from sdeseg_jax.runs import (
    build_networks,
    crop_and_batch_checks,
    initial_weights,
    labeled_frames,
    open_datasets,
    training_frames,
)
from sdeseg_jax.runs.frame_id_files import write_ids
from sdeseg_jax.runs.required_stages import required_stages
from sdeseg_jax.runs.workdir import LABELED, Workdir, check_stage
from sdeseg_jax.training.checkpoints import CheckpointError
from sdeseg_jax.training.collapse_alarms import AlarmLog
from sdeseg_jax.training.depth_objective import depth_fields
from sdeseg_jax.training.initialization import initialize_from_depth, load_variables, random_variables
from sdeseg_jax.training.multi_host import is_first
from sdeseg_jax.training.optimizers_and_schedules import segmentation_optimizer
from sdeseg_jax.training.replication import replicate
from sdeseg_jax.training.segmentation_objective import make_segmentation_objective
from sdeseg_jax.training.train_state import create_state
from sdeseg_jax.training.train_step import make_step
from sdeseg_jax.training.training_loop import Phase, run

MATCHED_BATCHES = 200
"""Batches over which the recorded geometric difference between source and target is averaged."""


def make_streams(config, dataset: FrameDataset, labeled: np.ndarray, workdir: Workdir) -> dict[str, Stream]:
    """The labelled stream, the pool of all frames if pseudo-labels are used, and the source domain's stream."""
    segmentation = config.segmentation
    batch_size = segmentation.batch_size // jax.process_count()
    fields = ("image", *(depth_fields(config.depth) if segmentation.multitask else ()))
    streams = {"labeled": Stream(dataset, labeled, batch_size, (*fields, "label"), labeled, salt=1)}
    if uses_pool(segmentation):
        pool = pool_frames(config, dataset, labeled)
        disparities = None
        fields = (*fields, "label", "is_labeled")
        if needs_disparity(config):
            disparities = stored_disparities(workdir, "estimate_depth", dataset, pool)
        if mixes_by_stored_disparity(segmentation):
            fields = (*fields, "disparity")
        streams["pool"] = Stream(dataset, pool, batch_size, fields, labeled, disparities, salt=2)
    if uses_source(config):
        streams["source"] = source_stream(config, workdir, batch_size, streams.get("pool"))
    return streams


def source_stream(config, workdir: Workdir, batch_size: int, pool: Stream | None) -> Stream:
    """Source frames with their labels, chosen to match the pool's frames where geometry is matched.

    Raises:
      UserError: as `open_source` and `source_frames`; a frame has no stored disparity.
    """
    source = open_datasets.open_source(config)
    crop_and_batch_checks.check_crop(config, source)
    frames, fields = training_frames.source_frames(config, source), ("image", "label")
    disparities = matching = None
    if needs_source_disparity(config):
        disparities = stored_disparities(workdir, "estimate_source_depth", source, frames)
    if config.segmentation.cross_mix == "depth":
        fields = (*fields, "disparity")
    if uses_matching(config):
        folder, stride = workdir.folder("train") / "geometry", geometry_stride(config.data.crop)
        matching = Matching(
            "pool",
            open_geometry(folder / "target", pool.disparities, pool.dataset, pool.indices, stride),
            open_geometry(folder / "source", disparities, source, frames, stride),
            config.source.n_candidates,
        )
    return Stream(source, frames, batch_size, fields, frames, disparities, salt=3, matching=matching)


def stored_disparities(workdir: Workdir, stage: str, dataset: FrameDataset, frames: np.ndarray) -> DisparityFolder:
    """Returns the folder with the disparity that a stage stored.

    Raises:
      UserError: the file of a frame is missing; the message names it and the job that writes it.
    """
    disparities = DisparityFolder(workdir.folder(stage), dataset.split)
    if absent := disparities.missing(dataset.index.ids[i] for i in frames):
        raise UserError(
            f"{disparities.path(absent[0])} does not exist; {len(absent)} of {len(frames)} frames have no stored "
            f"disparity. --job={stage} writes what is missing."
        )
    return disparities


def pool_frames(config, dataset: FrameDataset, labeled: np.ndarray) -> np.ndarray:
    """Returns labelled and unlabelled frames to draw images to mix from (Sec. 3.4)."""
    multitask = config.segmentation.multitask
    frames = training_frames.depth_candidates(config, dataset) if multitask else dataset.index.targets
    unlabeled = np.setdiff1d(frames, labeled)
    if config.data.unlabeled:
        order = np.random.default_rng([config.seed, 11]).permutation(len(unlabeled))
        unlabeled = unlabeled[order[: config.data.unlabeled]]
    return np.sort(np.concatenate([labeled, unlabeled]))


def class_weights(config, dataset: FrameDataset, labeled: np.ndarray) -> np.ndarray | None:
    """Returns weights from the class frequencies of the labelled frames; None if the config does not use them."""
    if config.segmentation.class_weights == "none":
        return None
    counts = np.zeros(len(dataset.classes), np.int64)
    for batch, number in evaluation_batches(dataset, labeled, 1, ("label",)):
        if number:
            counts += np.bincount(batch["label"].ravel(), minlength=256)[: len(counts)]
    return np.asarray(inverse_frequency_weights(counts))


def initial_variables(config, network, workdir: Workdir, records: dict | None = None):
    """Returns random weights, overwritten from `config.init`, then from the depth network; adds to the records."""
    segmentation = config.segmentation
    variables = random_variables(network, config.seed, config.data.crop)
    variables = initial_weights.initialize(variables, config.model, config.init, records=records)
    encoder, decoder = segmentation.init_encoder == "depth", segmentation.init_decoder == "depth"
    if encoder or decoder:
        folder = workdir.folder("pretrain_depth") / "checkpoints"
        try:
            variables = initialize_from_depth(variables, load_variables(folder), encoder, decoder, str(folder))
        except ValueError as error:
            raise CheckpointError(f"{error}\nThe depth network in {folder} does not fit config.model.") from error
    return variables


def make_evaluation(config, predict):
    """Returns a function of the state that scores the student during training; None without validation labels."""
    dataset = open_datasets.open_evaluation(config)
    if dataset is None or not len(dataset.index.labeled):
        return None

    def evaluate(state) -> dict[str, float]:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        miou = evaluate_segmentation(config, dataset, predict, variables).miou
        return {} if miou is None else {"score": miou, "miou": miou}

    return evaluate


def run_baseline(config, workdir: Workdir) -> None:
    """Trains the supervised baseline: `config.segmentation` overridden by `config.baseline`."""
    run_job(baseline_config(config), workdir, "baseline")


def run_job(config, workdir: Workdir, stage: str = "train") -> None:
    """Trains; resumes an interrupted training; does nothing if it is finished."""
    segmentation, runtime, data = config.segmentation, config.runtime, config.data
    crop_and_batch_checks.check_batch(config, "segmentation.batch_size")
    dataset = open_datasets.open_training(config)
    crop_and_batch_checks.check_images(config, dataset)
    labeled = labeled_frames.labeled_frames(config, dataset, workdir)
    labeled_frames.warn_of_unused_labels(config, dataset)
    for other, why in required_stages(config).items():
        workdir.require(other, why)
        check_stage(config, workdir, other)
    streams = make_streams(config, dataset, labeled, workdir)
    with workdir.stage(stage, config) as metrics:
        folder = workdir.folder(stage)
        ids = [dataset.index.ids[i] for i in labeled]
        if is_first():
            write_model_facts(folder, dataset.classes, dataset.image_size)
            write_ids(folder / LABELED, ids, dataset=dataset.name, split=dataset.split, seed=config.seed)

        network = build_networks.segmentation_network(config)
        optimizer = segmentation_optimizer(segmentation)
        state = create_state(initial_variables(config, network, workdir, metrics), optimizer, uses_pool(segmentation))
        objective = make_segmentation_objective(network, config)
        decay = segmentation.teacher_decay if uses_pool(segmentation) else None
        weights = class_weights(config, dataset, labeled)
        step = replicate(
            make_step(objective, optimizer, teacher_decay=decay),
            seed=np.uint32(config.seed),
            **({} if weights is None else {"class_weights": weights}),
        )
        predict = predict_labels(network)
        host, hosts = jax.process_index(), jax.process_count()

        run(
            stage,
            state,
            [Phase(segmentation.steps, step)],
            lambda first: training_batches(
                streams, data.crop, data.flip, config.seed, first, runtime.reader_threads, host, hosts
            ),
            folder,
            runtime,
            evaluate=make_evaluation(config, predict) if runtime.evaluate_every else None,
            watch=AlarmLog(segmentation.steps, runtime.stop_on_collapse),
            profile=config.profile,
            same_devices=workdir.needs_same_devices(config),
            pictures=segmentation_pictures(config, dataset, predict),
            hparams=flatten(config),
        )
        metrics |= {"labels": len(labeled), "steps": segmentation.steps}
        if uses_matching(config):
            steps, crop = min(segmentation.steps, MATCHED_BATCHES), tuple(data.crop)
            gaps = mean_differences(streams, "source", crop, data.flip, config.seed, steps)
            metrics["geometric_difference"] = gaps
