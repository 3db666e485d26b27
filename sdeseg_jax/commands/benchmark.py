"""Measures speed, always next to a reference measured in the same run.

    sdeseg benchmark --what=step [--size=small|full] [--batch 2 8 16] [--dtype=bfloat16] [--output=step.json]

Compiled programs on synthetic batches, without TensorFlow or a dataset:
  step       the multi-task training step and its parts: time, FLOPs, utilisation, memory; next to a large matrix
             product and, where PyTorch is installed, its ResNet-101.
  warp       view synthesis, forward and backward, next to map_coordinates.
  loss       the whole depth loss, forward and backward, next to a naive version.
  encoder    EfficientNet-Lite0, forward and backward, next to XLA's depthwise convolution and, where PyTorch is
             installed, its network.
  compile    tracing, lowering and compiling the step in a fresh process, and loading it from the cache in another.
  scaling    steps on one device and on several.
  startup    from the command to the help's text, next to `import jax`.
Data:
  input      crops per second of the data pipeline, next to a plain loader.
  matching   pairs of crops per second with source frames chosen by geometry, next to reading all candidates.
  selection  farthest point sampling by a running minimum distance, next to storing the distances of all pairs.
all          everything that can run on this machine, one after another.
"""

import argparse
import importlib
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from sdeseg_jax.commands.benchmarks.processes import missing_packages, run_all

DEPTH = ("jax", "flax", "optax", "ml_collections")
STEP = (*DEPTH, "dm_pix")
READING = (*STEP, "tensorflow", "tensorflow_datasets", "array_record", "PIL")
BENCHMARKS = dict(
    step=STEP,
    warp=DEPTH,
    loss=DEPTH,
    encoder=DEPTH,
    compile=STEP,
    scaling=STEP,
    input=READING,
    matching=READING,
    selection=DEPTH,
    startup=("jax",),
)
"""Name -> required packages."""

ROUNDS = {"input": 5, "matching": 5}


def positive(text: str) -> int:
    """Parses a whole number of at least 1, for `argparse`."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value} should be at least 1")
    return value


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--what", choices=(*BENCHMARKS, "all"), required=True)
    parser.add_argument("--output", help="JSON file for the numbers")
    parser.add_argument("--rounds", type=positive, help="measurements in turns; shows medians (data: 5, else 10)")
    group = parser.add_argument_group("step, warp, loss, compile, scaling")
    group.add_argument(
        "--size",
        choices=("tiny", "small", "full"),
        help="small: the Streets quickstart, multi-task, 96x192 (default on CPUs); full: the paper's Cityscapes, "
        "ResNet-101, 512x512 (default elsewhere); tiny: for tests",
    )
    group.add_argument(
        "--batch",
        type=positive,
        nargs="+",
        help="labelled and pool images per device (2); compile, scaling: first only",
    )
    group.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of the networks (float32 on CPUs, else bfloat16)"
    )
    group.add_argument("--remat", action="store_true", help="recompute activations in the backward pass")
    group.add_argument("--devices", type=positive, nargs="+", default=[1, 8], help="scaling: device counts (1 8)")
    group = parser.add_argument_group("input, matching, selection")
    group.add_argument("--seconds", type=float, default=4.0, help="input, matching: length of a measurement")
    group.add_argument("--frames", type=int, nargs="+", default=[3_000, 30_000, 100_000], help="selection: pool sizes")
    group.add_argument("--dimensions", type=int, default=8192, help="selection: feature size")
    group.add_argument("--picks", type=int, default=744, help="selection: frames to choose")
    return parser


def measure_one(arguments: argparse.Namespace) -> dict:
    """Runs one benchmark and prints its table.

    Raises:
      SystemExit: a required package is not installed.
    """
    if missing := missing_packages(BENCHMARKS[arguments.what]):
        sys.exit(f"Error: --what={arguments.what} needs packages that are not installed: {', '.join(missing)}")
    if "tensorflow" in BENCHMARKS[arguments.what]:
        from absl import logging

        logging.set_verbosity(logging.ERROR)
    arguments.rounds = arguments.rounds or ROUNDS.get(arguments.what, 10)
    benchmark = importlib.import_module(f"{__package__}.benchmarks.{arguments.what}")
    result = benchmark.measure(arguments)
    print(benchmark.show(result))
    return result


def main(argv: list[str] | None = None) -> None:
    """Runs one benchmark or all of them."""
    arguments = make_parser().parse_args(argv)
    if arguments.what == "all":
        with tempfile.TemporaryDirectory() as folder:
            result = run_all(BENCHMARKS, arguments, folder)
    else:
        result = measure_one(arguments)
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(result, indent=1) + "\n")
    if arguments.what == "all" and any("failed" in one for one in result.values()):
        sys.exit("Error: some benchmarks failed, see above")
