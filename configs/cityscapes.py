"""Cityscapes at the paper's size (Sec. 4.1-4.3): ResNet-101, 1024 x 512 images, 512 x 512 crops.

    sdeseg prepare --dataset=cityscapes --source=cityscapes --output=data
    sdeseg prepare --dataset=cityscapes_video --source=cityscapes --output=data
    sdeseg run --config=cityscapes:labels=372 --workdir=runs/cityscapes_372 --config.data.data_dir=data

Depth is learned from all frames of the sequence package. ImageNet weights are downloaded (torchvision, BSD licence).
Needs an accelerator; how long a run takes has not been measured yet. For the paper's scores beside measured ones, see
--reference of sdeseg tables. Arguments after a colon:
  labels=N      annotated training frames: 100, 186, 372, 744 in the paper's tables, 2975 for all (default 372)
  seed=N        for initial weights, data order and the choice of labels
  mix=M         depth (default), class, cut, none (pseudo-labels without mixing) or supervised (labelled images alone)
  depth=D       feature_distance (default): start from a depth network that was kept near ImageNet's features; transfer:
                from one that was not; none: encoder from ImageNet, decoder from scratch; supervised: from a depth
                network that learned from the stereo disparity
  multitask=B   true (default); false: transfer learning only, mixing by stored disparity
  frames=F      share of the video frames that depth is learned from (default 1.0; Table 9: 0.1, 0.01, 0.001)
  selection=S   how the labelled frames are chosen: by_seed (default), or by the data selection: ds_us (diversity and
                uncertainty, Algorithm 1), diversity, uncertainty, entropy (a baseline that needs labels), random
  encoder=E     resnet101 (default), or another one, e.g. resnet50, efficientnet_lite0, dinov2_small, dinov3_base; what
                follows from it (optimizer, learning rates, feature distance) is set, too
  weights=W     pretrained (default): published ones of the encoder, the pose network's ResNet-18 and the data
                selection's ResNet-50; random: with depth=none, or with depth training's config.depth.frozen_steps and
                feature_distance_weight at 0
"""

from sdeseg_jax.configs.common import choose_method, choose_selection, parse_arguments
from sdeseg_jax.configs.encoders import ENCODER, choose_encoder

from sdeseg_jax.config import default_config

METHOD = {"labels": 372, "seed": 0, "mix": "depth", "depth": "feature_distance", "multitask": True}
METHOD |= ENCODER
"""Arguments of the method with their defaults."""


def get_config(argument: str | None = None):
    """See the module's docstring."""
    arguments = parse_arguments(argument, **METHOD, frames=1.0, selection="by_seed")
    config = default_config()
    config.seed = arguments["seed"]
    config.data.labels = arguments["labels"]
    config.video.share = arguments["frames"]
    if arguments["depth"] != "supervised":  # the stereo disparity belongs to the annotated frames
        config.video.name = "cityscapes_video"
    choose_method(config, arguments["mix"], arguments["depth"], arguments["multitask"])
    choose_encoder(config, arguments["encoder"], arguments["weights"])
    choose_selection(config, arguments["selection"])
    return config
