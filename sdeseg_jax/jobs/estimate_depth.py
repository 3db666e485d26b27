"""Job `estimate_depth`: disparity of every training frame, into `disparity/`. Only missing files are made."""

import jax

from sdeseg_jax.data.disparities import DisparityFolder
from sdeseg_jax.data.pipeline import evaluation_batches
from sdeseg_jax.jobs import common
from sdeseg_jax.jobs.workdir import Workdir
from sdeseg_jax.training.initialization import load_variables
from sdeseg_jax.training.logging import ProgressLine
from sdeseg_jax.training.replication import replicate_inference, round_up


def predict_disparity(network):
    """Function of (variables, images [B, H, W, 3]) -> disparity [B, H, W, 1] in [0, 1], on all devices."""

    def function(variables, images: jax.Array) -> jax.Array:
        return network.apply(variables, images, train=False).disparities[0]

    return replicate_inference(function)


def run_job(config, workdir: Workdir) -> None:
    """Estimates what is missing."""
    workdir.require("pretrain_depth", "'estimate_depth' needs a trained depth network")
    dataset = common.open_training(config)
    with workdir.stage("estimate_depth", config) as metrics:
        folder = DisparityFolder(workdir.folder("estimate_depth"), dataset.split)
        missing = folder.missing(dataset.index.ids[i] for i in dataset.index.targets)
        predict = predict_disparity(common.depth_network(config))
        variables = load_variables(workdir.folder("pretrain_depth") / "checkpoints")
        progress, done = ProgressLine("disparity", len(missing)), 0
        batches = evaluation_batches(
            dataset, dataset.positions(missing), round_up(config.estimate.batch_size), ("image",)
        ) if missing else ()  # fmt: skip
        for batch, count in batches:
            disparity = predict(variables, batch["image"])
            for frame_id, one in zip(missing[done : done + count], disparity[:count], strict=True):
                folder.write(frame_id, one)
            done += count
            if done == len(missing) or done % (50 * config.estimate.batch_size) < count:
                progress.show(done)
        metrics["frames"] = len(dataset.index.targets)
