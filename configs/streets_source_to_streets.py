"""Domain adaptation on a laptop CPU (Sec. 3.5): from Streets' source domain to Streets.

    sdeseg run --config=streets_source_to_streets --workdir=runs/adaptation

The source domain differs in look and cameras. 1,200 source frames with labels, 1,200 target frames, few of them
annotated. Arguments after a colon:
  source=B      true (default); false: target frames alone
  cross=M       how source images are mixed into target images: depth (default, Cross-Domain DepthMix), class (DACS),
                cut, none (source images and labels are used without mixing)
  matching=B    true (default where source images are mixed in): takes, of five source frames, the one whose geometry is
                nearest to the target's; false: takes any
  labels, seed, size, mix, depth, multitask, selection, encoder, weights
                as in configs/streets.py; mix says how target images are mixed. All mixing is by stored disparity.
"""

from sdeseg_jax.configs.common import ADAPTATION, choose_adaptation, parse_arguments

from sdeseg_jax.configs import streets


def get_config(argument: str | None = None):
    """See the module's docstring."""
    arguments = parse_arguments(argument, **streets.METHOD, selection="by_seed", **ADAPTATION)
    adaptation = {key: arguments.pop(key) for key in ADAPTATION}
    config = streets.get_config(",".join(f"{key}={value}" for key, value in arguments.items()))
    source, model, depth = config.source, config.model, config.depth
    with source.options.unlocked():
        source.options.update(config.data.options.to_dict(), domain="source", val_scenes=1)
    source.model.update(decoder_channels=model.decoder_channels, aspp_rates=model.aspp_rates)
    source.depth.encoder_learning_rate = depth.encoder_learning_rate
    choose_adaptation(config, "streets", **adaptation)
    return config
