"""Domain adaptation from GTA5 to Cityscapes at the paper's size (Sec. 3.5, Tables 12, 14, 16).

    python scripts/prepare_data.py --dataset=gta5 --source=gta5 --output=data
    python scripts/prepare_data.py --dataset=gta5_video --source=viper --output=data
    python -m sdeseg_jax.main --config=configs/gta5_to_cityscapes.py:labels=100 --workdir=runs/gta5_to_cityscapes_100 \
      --config.data.data_dir=data --config.init.encoder=weights/resnet101 --config.init.pose=weights/resnet18

Cityscapes and weights as in configs/cityscapes.py. Needs an accelerator; how long a row takes there has not been
measured yet. The source's depth is learned from VIPER's video. Arguments after a colon:
  source=B      true (default) or false: Cityscapes alone
  cross=M       what pastes source images onto target images: depth (default, Cross-Domain DepthMix), class (DACS),
                cut, none (source labels are learned from all the same)
  matching=B    true (default where source images are mixed in) or false: of five source frames, the one whose geometry
                is nearest to the target's is taken
  labels=N      annotated target frames: 100 (default), 200, 500, 2975 in the paper's tables
  seed, mix, depth, multitask, selection
                as in configs/cityscapes.py; mix is of target images with each other. All mixing is by stored disparity.
"""

from configs import cityscapes
from configs.common import choose_adaptation, parse_arguments


def get_config(argument: str | None = None):
    """See the module's docstring."""
    return adapt(parse_arguments(argument, **ARGUMENTS), "gta5", "gta5_video")


ARGUMENTS = {
    "labels": 100, "seed": 0, "mix": "depth", "depth": "feature_distance", "multitask": True, "selection": "by_seed",
    "source": True, "cross": "auto", "matching": "auto",
}  # fmt: skip
"""Arguments with their defaults."""


def adapt(arguments: dict, source: str, video: str):
    """The config of Cityscapes with a source domain.

    Args:
      arguments: values of `ARGUMENTS`.
      source, video: datasets with the source's labels, and with its video.
    """
    adaptation = {key: arguments[key] for key in ("source", "cross", "matching")}
    target = {key: value for key, value in arguments.items() if key not in adaptation}
    config = cityscapes.get_config(",".join(f"{key}={value}" for key, value in target.items()))
    config.source.video.name = video
    choose_adaptation(config, source, **adaptation)
    return config
