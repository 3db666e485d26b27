"""Cityscapes at the paper's size (Sec. 4.1-4.3): ResNet-101, 1024 x 512 images, 512 x 512 crops.

    python scripts/prepare_data.py --dataset=cityscapes --source=cityscapes --output=data
    python scripts/prepare_data.py --dataset=cityscapes_video --source=cityscapes --output=data
    python -m sdeseg_jax.main --config=configs/cityscapes.py:labels=372 --workdir=runs/cityscapes_372 \
      --config.data.data_dir=data

Depth is learned from all frames of the sequence package. Needs an accelerator. Arguments after a colon:
  labels=N      annotated training frames: 100, 186, 372, 744 in the paper's tables, 2975 for all (default 372)
  seed=N        of initial weights, data order and the choice of labels
  mix=M         depth (default) or none
  multitask=B   true (default) or false: transfer learning only, mixing by precomputed disparity
"""

from configs.common import default_config, parse_arguments


def get_config(argument: str | None = None):
    """See the module's docstring."""
    arguments = parse_arguments(argument, labels=372, seed=0, mix="depth", multitask=True)
    config = default_config()
    config.seed = arguments["seed"]
    config.data.labels = arguments["labels"]
    config.video.name = "cityscapes_video"
    config.segmentation.mix = arguments["mix"]
    config.segmentation.multitask = arguments["multitask"]
    config.segmentation.mix_disparity = "online" if arguments["multitask"] else "precomputed"
    return config
