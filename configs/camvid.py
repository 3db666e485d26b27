"""CamVid in SegNet's split (Table 11): 11 classes, 672 x 512 images; frames of its training split have no neighbours.

    sdeseg prepare --dataset=camvid --source=CamVid --output=data
    sdeseg run --config=camvid --workdir=runs/camvid --config.data.data_dir=data

As in the paper, depth is learned from Cityscapes' video (prepare cityscapes_video, too) and transferred; images are
mixed by its stored disparity. Scored on the test split, as the authors do. To choose anything by score, e.g. with
config.runtime.evaluate_every, use --config.evaluation.split=validation. Needs an accelerator; ImageNet weights are
downloaded. Arguments after a colon:
  labels=N      annotated training frames (default 100; 0 for all 367)
  seed=N        for initial weights, data order and the choice of labels
  mix=M         depth (default), class, cut, none (pseudo-labels without mixing) or supervised (labelled images alone)
  depth=D       feature_distance (default), transfer or none, as in configs/cityscapes.py
  selection=S   how the labelled frames are chosen: by_seed (default), or by the data selection: ds_us (diversity and
                uncertainty, Algorithm 1), diversity, uncertainty, entropy (a baseline that needs labels), random
  encoder=E     of size=full: resnet101 (default), or another one, as in configs/cityscapes.py; of size=small:
                efficientnet_lite0 (default, if the extra [pretrained] is installed), resnet18_quarter (a ResNet-18 with
                a quarter of its channels), or another one
  weights=W     first weights of the encoders: auto (default; published ones, but for resnet18_quarter), pretrained,
                random
  size=S        full (default): the paper's networks; small: for a laptop's CPU, some 30 minutes on two cores. It learns
                depth from the first 81 frames of the validation split, CamVid's only video, without their labels, and
                is scored on the validation split: for trying things out (RESULTS.md says what its scores are worth).
                Prepare with --size=320x256.
"""

from sdeseg_jax.configs.common import (
    SIZES,
    check_argument,
    choose_method,
    choose_selection,
    parse_arguments,
    small_network,
)
from sdeseg_jax.configs.encoders import ENCODER, choose_encoder, choose_small_encoder

from sdeseg_jax.config import default_config


def get_config(argument: str | None = None):
    """See the module's docstring."""
    arguments = parse_arguments(
        argument, labels=100, seed=0, mix="depth", depth="feature_distance", size="full", selection="by_seed", **ENCODER
    )
    config = default_config()
    config.seed = arguments["seed"]
    config.data.name = "camvid"
    config.data.labels = arguments["labels"]
    config.video.name = "cityscapes_video"
    check_argument("size", arguments["size"], SIZES)
    if arguments["size"] == "small":
        small_network(config)
        choose_small_encoder(config, arguments["encoder"], arguments["weights"])
        config.data.variant = "320x256"
        config.data.crop = (256, 320)
        config.video.name, config.video.split, config.video.variant = "camvid", "validation[:81]", "320x256"
        config.depth.steps = 600
    else:
        config.evaluation.split = "test"
        config.segmentation.steps, config.segmentation.decay_steps = 20_000, (15_000,)
    choose_method(config, arguments["mix"], arguments["depth"], multitask=False)
    if arguments["size"] == "full":
        choose_encoder(config, arguments["encoder"], arguments["weights"])
    choose_selection(config, arguments["selection"])
    return config
