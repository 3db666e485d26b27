"""What is measured for RESULTS.md: tables at a size that one machine can run, for `sdeseg tables`.

sdeseg tables --dataset=streets --root=runs/streets_tables --run
"""

import dataclasses

_NO_PICTURES = "--config.runtime.tensorboard=False"
"""Nobody looks at the pictures of hundreds of runs."""

_CAMVID = "configs/camvid.py:size=small,encoder=resnet18_quarter"
_STREETS = "configs/streets.py:encoder=resnet18_quarter"
_ADAPTATION = "configs/streets_source_to_streets.py:encoder=resnet18_quarter"


@dataclasses.dataclass(frozen=True)
class Part:
    """A table of `configs.tables` as an experiment runs it.

    Attributes:
      table: its name.
      config: config file with its arguments.
      labels: numbers of labels; 0 for all.
    """

    table: str
    config: str
    labels: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Tables that belong together.

    Attributes:
      title: heading for people.
      parts: in the order in which they run: what is read first comes first.
      overrides: settings of every run, as on the command line.
      seeds: of labels, weights and data order.
    """

    title: str
    parts: tuple[Part, ...]
    overrides: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)


EXPERIMENTS = {
    "streets": Experiment(
        "Streets, the embedded dataset",
        (
            Part("labels", _STREETS, (8, 16, 32, 64, 0)),
            Part("ablation", _STREETS, (16,)),
            Part("transfer", _STREETS, (16,)),
            Part("mixing", _STREETS, (16,)),
            Part("steps", _STREETS, (8, 16)),
            Part("cotraining", _STREETS, (8,)),
            Part("selection", _STREETS, (8, 16)),
            Part("depth", _STREETS, (16,)),
            Part("adaptation", _ADAPTATION, (8, 16)),
            Part("adaptation_ablation", _ADAPTATION, (16,)),
            Part("adaptation_mixing", _ADAPTATION, (16,)),
        ),
        (
            "--config.selection.schedule=(8,16,32,64)",
            "--config.selection.student_steps=((8,100),(16,150),(32,200))",
            _NO_PICTURES,
        ),
    ),
    "camvid": Experiment(
        "CamVid from random weights", (Part("camvid_random", _CAMVID, (50, 100, 0)),), (_NO_PICTURES,)
    ),
}
"""Name -> experiment."""
