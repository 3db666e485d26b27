"""Job `estimate_depth`: disparity of every training frame, into `disparity/`.

It writes missing files only; several hosts share the frames. `estimate_source_depth` does the same for the source
domain (Sec. 3.5), into `source/disparity/`.
"""

import jax

from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.runs import build_networks, open_datasets
from sdeseg_jax.runs.workdir import Workdir, check_borrowed, check_stage
from sdeseg_jax.training.initialization import load_variables
from sdeseg_jax.training.multi_host import wait_for_all
from sdeseg_jax.training.progress_line import ProgressLine
from sdeseg_jax.training.replication import replicate_inference, round_up


def predict_disparity(network):
    """Function of (variables, images [B, H, W, 3]) -> disparity [B, H, W, 1] in [0, 1], on all devices."""

    def function(variables, images: jax.Array) -> jax.Array:
        return network.apply(variables, images, train=False).disparities[0]

    return replicate_inference(function)


def run_source(config, workdir: Workdir) -> None:
    """Estimates missing disparity of the source domain."""
    with open_datasets.source_domain(config) as own:
        run_job(own, workdir, "estimate_source_depth", "pretrain_source_depth")


def run_job(config, workdir: Workdir, stage: str = "estimate_depth", network_stage: str = "pretrain_depth") -> None:
    """Estimates missing disparity with the network of another stage."""
    if check_borrowed(config, workdir, stage):
        return
    workdir.require(network_stage, f"'{stage}' needs a trained depth network")
    check_stage(config, workdir, network_stage)
    dataset = open_datasets.open_training(config)
    with workdir.stage(stage, config) as metrics:
        folder = DisparityFolder(workdir.folder(stage), dataset.split)
        missing = folder.missing(dataset.index.ids[i] for i in dataset.index.targets)
        predict = predict_disparity(build_networks.depth_network(config))
        variables = load_variables(workdir.folder(network_stage) / "checkpoints") if missing else None
        wait_for_all("what is missing")  # before others write some of it
        missing = missing[jax.process_index() :: jax.process_count()]
        progress, done = ProgressLine("disparity", len(missing)), 0
        frames, batch_size = dataset.positions(missing), round_up(config.estimate.batch_size)
        for batch, count in evaluation_batches(dataset, frames, batch_size, ("image",)) if missing else ():
            disparity = predict(variables, batch["image"])
            for frame_id, one in zip(missing[done : done + count], disparity[:count], strict=True):
                folder.write(frame_id, one)
            done += count
            if done == len(missing) or done % (50 * config.estimate.batch_size) < count:
                progress.show(done)
        metrics["frames"] = len(dataset.index.targets)
