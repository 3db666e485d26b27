"""Your own data, prepared by `sdeseg prepare --dataset=folder` (see the README).

    sdeseg run --config=folder --workdir=runs/mine --config.data.data_dir=data

Arguments after a colon:
  labels=N      annotated training frames that are used (default 0: all)
  seed=N        for initial weights and data order
  stages=S      all (default), depth (video without labels), select (video: which frames to annotate) or supervised
                (annotated images without video)
  annotate=N    with stages=select: how many frames to choose beside those already annotated (default 50)
  mix=M         depth (default), class, cut, none (pseudo-labels without mixing) or supervised (labelled images alone)
  multitask=B   false (default): mixing by stored disparity; true: depth is co-trained, which needs labelled frames
                that have both neighbours
  crop=HxW      of training crops (default 512x512)
  size=S        full (default): the paper's networks, from ImageNet weights, which are downloaded, for an accelerator;
                small: for a laptop's CPU
  encoder, weights
                as in configs/camvid.py
If several folders are prepared, choose one: --config.data.variant=my_city_1024x576.
"""

from sdeseg_jax.configs.common import (
    SIZES,
    add_selection_stages,
    check_argument,
    choose_method,
    parse_arguments,
    small_network,
)
from sdeseg_jax.configs.encoders import ENCODER, choose_encoder, choose_small_encoder

from sdeseg_jax.config import UserError, default_config
from sdeseg_jax.selection.annotation_schedule import schedule_up_to

METHOD = {"labels": 0, "seed": 0, "mix": "depth", "multitask": False, **ENCODER}
"""Arguments of the method with their defaults."""

STAGES = {
    "all": ("pretrain_depth", "estimate_depth", "baseline", "train", "evaluate", "report"),
    "depth": ("pretrain_depth", "evaluate", "report"),
    "select": ("pretrain_depth", "estimate_depth", "select_labels", "report"),
    "supervised": ("baseline", "evaluate", "report"),
}


def get_config(argument: str | None = None):
    """See the module's docstring."""
    arguments = parse_arguments(argument, **METHOD, stages="all", crop="512x512", size="full", annotate=50)
    check_argument("stages", arguments["stages"], STAGES)
    check_argument("size", arguments["size"], SIZES)
    config = default_config()
    config.seed = arguments["seed"]
    config.data.name = "folder"
    config.data.labels = arguments["labels"]
    config.data.label_candidates = "video" if arguments["multitask"] else "all"
    config.pipeline.stages = STAGES[arguments["stages"]]
    if arguments["size"] == "small":
        small_network(config)
        choose_small_encoder(config, arguments["encoder"], arguments["weights"])
    try:
        height, width = (int(side) for side in arguments["crop"].split("x"))
    except ValueError as error:
        raise UserError(f"config argument crop={arguments['crop']} should be HEIGHTxWIDTH") from error
    config.data.crop = (height, width)
    choose_method(config, arguments["mix"], "feature_distance", arguments["multitask"])
    if arguments["size"] == "full":
        choose_encoder(config, arguments["encoder"], arguments["weights"])
    if arguments["annotate"] < 1:
        raise UserError(f"config argument annotate={arguments['annotate']} should be 1 or more")
    config.selection.candidates, config.selection.existing = "all", "annotated"
    config.selection.schedule = schedule_up_to(arguments["annotate"], config.selection.schedule)
    if arguments["stages"] == "select":
        add_selection_stages(config)
    return config
