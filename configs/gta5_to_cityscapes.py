"""Domain adaptation from GTA5 to Cityscapes at the paper's size (Sec. 3.5, Tables 12, 14, 16).

    sdeseg prepare --dataset=gta5 --source=gta5 --output=data
    sdeseg prepare --dataset=gta5_video --source=viper --output=data
    sdeseg run --config=gta5_to_cityscapes:labels=100 --workdir=runs/gta5_to_cityscapes_100 \
      --config.data.data_dir=data

Cityscapes and weights as in configs/cityscapes.py. Needs an accelerator; how long a run takes has not been measured
yet. The source's depth is learned from VIPER's video. Arguments after a colon:
  source=B      true (default); false: Cityscapes alone
  cross=M       how source images are mixed into target images: depth (default, Cross-Domain DepthMix), class (DACS),
                cut, none (source images and labels are used without mixing)
  matching=B    true (default where source images are mixed in): takes, of five source frames, the one whose geometry is
                nearest to the target's; false: takes any
  labels=N      annotated target frames: 100 (default), 200, 500, 2975 in the paper's tables
  seed, mix, depth, multitask, selection, encoder, weights
                as in configs/cityscapes.py; mix says how target images are mixed. All mixing is by stored disparity.
"""

from sdeseg_jax.configs.common import ADAPTATION, choose_adaptation, parse_arguments

from sdeseg_jax.configs import cityscapes

ARGUMENTS = {**cityscapes.METHOD, "labels": 100, "selection": "by_seed", **ADAPTATION}
"""Arguments with their defaults."""


def get_config(argument: str | None = None):
    """See the module's docstring."""
    return adapt(parse_arguments(argument, **ARGUMENTS), "gta5", "gta5_video")


def adapt(arguments: dict, source: str, video: str):
    """Returns the config of Cityscapes with a source domain.

    Args:
      arguments: values of `ARGUMENTS`.
      source, video: dataset with the source's labels, and with its video.
    """
    adaptation = {key: arguments[key] for key in ADAPTATION}
    target = {key: value for key, value in arguments.items() if key not in adaptation}
    config = cityscapes.get_config(",".join(f"{key}={value}" for key, value in target.items()))
    config.source.video.name = video
    choose_adaptation(config, source, **adaptation)
    return config
