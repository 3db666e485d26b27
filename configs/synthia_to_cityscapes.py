"""Domain adaptation from SYNTHIA to Cityscapes at the paper's size (Sec. 3.5, Tables 12, 17).

    sdeseg prepare --dataset=synthia --source=RAND_CITYSCAPES --output=data
    sdeseg prepare --dataset=synthia_video --source=SYNTHIA-SEQS --output=data
    sdeseg run --config=synthia_to_cityscapes:labels=100 --workdir=runs/synthia_to_cityscapes_100 \
      --config.data.data_dir=data

SYNTHIA has no terrain, truck and train. classes=16 (default) trains and scores the 16 classes that both datasets have,
and reports the mean over 13 (without wall, fence, pole) as well; the other classes are void in both domains, also where
Cityscapes annotates them. classes=13 trains 13. classes=19 keeps all: the three are learned from target labels alone.
Scores of different protocols are not comparable. All other arguments are as in configs/gta5_to_cityscapes.py.
"""

from sdeseg_jax.configs.common import parse_arguments
from sdeseg_jax.configs.gta5_to_cityscapes import ARGUMENTS, adapt

from sdeseg_jax.config import UserError

PROTOCOLS = {16: "synthia-16", 13: "synthia-13", 19: "cityscapes-19"}
"""Value of `classes` -> protocol."""


def get_config(argument: str | None = None):
    """See the module's docstring."""
    arguments = parse_arguments(argument, classes=16, **ARGUMENTS)
    classes = arguments.pop("classes")
    if classes not in PROTOCOLS:
        raise UserError(f"config argument classes={classes} is unknown; valid: {', '.join(map(str, PROTOCOLS))}")
    config = adapt(arguments, "synthia", "synthia_video")
    config.data.protocol = PROTOCOLS[classes]
    return config
