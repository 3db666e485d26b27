"""Streets, the embedded procedural dataset: the whole method on a laptop CPU, with no download.

    sdeseg run --config=streets --workdir=runs/streets

Arguments after a colon, e.g. configs/streets.py:labels=60,seed=1
  labels=N      annotated training frames (default 20, of the 800 with both neighbours)
  seed=N        for initial weights, data order and the choice of labels (the videos stay the same)
  steps=N       of each segmentation training (default 1000; size=tiny has its own)
  size=S        quick (default, the quickstart), tiny (a test: a few steps, mostly compilation; no useful scores)
  encoder=E     efficientnet_lite0 (default, if the extra [pretrained] is installed), resnet18_quarter (a ResNet-18 with
                a quarter of its channels; size=tiny's default), or another one
  weights=W     first weights of the encoders: auto (default; published ones, but for resnet18_quarter), pretrained,
                random
  mix=M         depth (default), class, cut, none (pseudo-labels without mixing) or supervised (labelled frames alone)
  depth=D       transfer (default): start from the depth network; none: from random weights; supervised: from a depth
                network that learned from Streets' true depth
  frames=F      share of the video frames that depth is learned from (default 1.0)
  multitask=B   false (default): mixing by stored disparity; true: depth is co-trained (PAD), and mixing is by the
                student's own disparity. A step then takes several times as long.
  disparity=D   what DepthMix mixes by: auto (default; as multitask says), stored (by the depth network), online (the
                student's own)
  depth_weight=W  of the co-trained depth loss (lambda_SDE, default 0.1; the paper's is 1.0)
  selection=S   how the labelled frames are chosen: by_seed (default), or by the data selection: ds_us (diversity and
                uncertainty, Algorithm 1), diversity, uncertainty, entropy (a baseline that needs labels), random
"""

from sdeseg_jax.configs.common import check_argument, choose_method, choose_selection, parse_arguments, small_network
from sdeseg_jax.configs.encoders import ENCODER, SMALLEST, choose_small_encoder

from sdeseg_jax.config import UserError, default_config

METHOD = {"labels": 20, "seed": 0, "size": "quick", "mix": "depth", "depth": "transfer", "multitask": False}
METHOD |= ENCODER
"""Arguments of the method with their defaults."""


def get_config(argument: str | None = None):
    """See the module's docstring."""
    more = {"selection": "by_seed", "frames": 1.0, "steps": 1000, "disparity": "auto", "depth_weight": 0.1}
    arguments = parse_arguments(argument, **METHOD, **more)
    check_argument("size", arguments["size"], ("quick", "tiny"))
    config = default_config()
    config.seed = arguments["seed"]

    config.data.name = "streets"
    config.data.crop = (96, 192)
    config.data.labels = arguments["labels"]
    with config.data.options.unlocked():
        config.data.options.update(height=96, width=192, train_scenes=200, val_scenes=50, frames_per_clip=6, seed=0)

    config.video.share = arguments["frames"]

    small_network(config)
    tiny = arguments["size"] == "tiny"
    encoder, weights = arguments["encoder"], arguments["weights"]
    if tiny and encoder == "auto" and weights != "pretrained":
        encoder = SMALLEST
    choose_small_encoder(config, encoder, weights)
    if config.init.pose:
        # EfficientNet-Lite0's depth is then as good (abs rel 0.247, one seed) as the small ResNet's after 1000 steps.
        config.depth.steps = 500
    segmentation = config.segmentation
    segmentation.steps = arguments["steps"]
    if arguments["depth"] == "feature_distance":
        raise UserError("config argument depth=feature_distance: small networks learn depth without it")
    segmentation.depth_weight = arguments["depth_weight"]
    choose_method(config, arguments["mix"], arguments["depth"], arguments["multitask"], arguments["disparity"])
    if tiny:
        config.data.labels = min(arguments["labels"], 6)
        config.selection.schedule = (2, 4, 6)
    choose_selection(config, arguments["selection"])

    config.evaluation.batch_size = 10

    if tiny:
        config.data.crop = (32, 64)
        config.data.options.update(height=32, width=64, train_scenes=8, val_scenes=3, frames_per_clip=4)
        if encoder == SMALLEST:
            config.model.backbone = config.model.pose_backbone = "resnet10"
        if config.init.encoder == "":
            config.model.width = config.model.pose_width = 0.0625
        config.model.decoder_channels = (4, 4, 8, 8, 8)
        config.depth.steps = segmentation.steps = 4
        config.depth.batch_size = segmentation.batch_size = 2
        student = config.selection.student
        student.backbone = "resnet10"
        student.width, student.decoder_channels = 0.0625, config.model.decoder_channels
        config.selection.batch_size, config.selection.student_steps = 2, ((2, 3), (4, 4))
        config.evaluation.batch_size = 4
        config.runtime.log_every = 2
        config.runtime.checkpoint_every = 2
    return config
