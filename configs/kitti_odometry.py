"""Depth and ego-motion from KITTI's odometry video: a check of self-supervised depth on real data, with poses.

    sdeseg prepare --dataset=kitti_odometry --source=dataset --output=data
    sdeseg run --config=kitti_odometry --workdir=runs/kitti --config.data.data_dir=data

There are no labels: depth is learned, then scored by the photometric error of held-out frames, with and without
warping, and by ego-motion against KITTI's poses: direction, rotation, and the path after scaling. Needs an accelerator;
ImageNet weights are downloaded. Arguments after a colon:
  seed=N        for initial weights and data order
  train=S       split, or a part of it, to learn from, e.g. train[:41] (default train)
  test=S        split to score on, e.g. train[41:] if there is only one sequence (default validation: 09 and 10)
  size=S        full (default): the paper's networks; small: for a laptop's CPU. Prepare with --size=416x128.
  encoder, weights
                as in configs/camvid.py
"""

from sdeseg_jax.configs.common import SIZES, check_argument, parse_arguments, small_network
from sdeseg_jax.configs.encoders import ENCODER, choose_encoder, choose_small_encoder

from sdeseg_jax.config import default_config


def get_config(argument: str | None = None):
    """See the module's docstring."""
    arguments = parse_arguments(argument, seed=0, train="train", test="validation", size="full", **ENCODER)
    config = default_config()
    config.seed = arguments["seed"]
    config.data.name = "kitti_odometry"
    config.data.train_split = arguments["train"]
    config.evaluation.split = arguments["test"]
    config.data.crop = (192, 640)
    config.pipeline.stages = ("pretrain_depth", "evaluate", "report")
    check_argument("size", arguments["size"], SIZES)
    if arguments["size"] == "small":
        small_network(config)
        config.data.variant = "416x128"
        config.data.crop = (128, 416)
        choose_small_encoder(config, arguments["encoder"], arguments["weights"])
        config.depth.steps = 600
    else:
        choose_encoder(config, arguments["encoder"], arguments["weights"])
    return config
