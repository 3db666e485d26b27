"""Measures speed, always beside something to compare with, in the same run.

    python scripts/benchmark.py --what=input|matching|selection [--output=benchmark.json]

input: crops per second that the data pipeline reads, next to a plain loader.
matching: pairs of crops per second where source frames are chosen by their geometry, next to reading all candidates.
selection: farthest point sampling by the running minimum distance, next to a version with the distances of all pairs.
"""

import argparse
import importlib
import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]  # works without installation, too
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

BENCHMARKS = ("input", "matching", "selection")


def main(argv: list[str] | None = None) -> None:
    """Runs one benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--what", choices=BENCHMARKS, required=True)
    parser.add_argument("--seconds", type=float, default=4.0, help="input, matching: of each measurement")
    parser.add_argument(
        "--rounds", type=int, default=5, help="input, matching: of measurements, in turns; medians are shown"
    )
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[3_000, 30_000, 100_000], help="selection: of each run"
    )
    parser.add_argument("--dimensions", type=int, default=8192, help="selection: of the features")
    parser.add_argument("--picks", type=int, default=744, help="selection: frames that are chosen")
    parser.add_argument("--output", help="JSON file for the numbers")
    arguments = parser.parse_args(argv)
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    benchmark = importlib.import_module(f"benchmarks.{arguments.what}")
    result = benchmark.measure(arguments)
    print(benchmark.show(result))
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
