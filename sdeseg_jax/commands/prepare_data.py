"""Prepares a downloaded dataset for training, once: resized, encoded, readable by index.

    sdeseg prepare --dataset=cityscapes --source=/downloads/cityscapes --output=data

After an interruption, the same command resumes. `--dataset=… --layout` shows the expected files.
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def parse_size(text: str) -> tuple[int, int]:
    """Parses '1024x512' as (1024, 512)."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' should be WIDTHxHEIGHT, e.g. 1024x512") from error
    if width < 32 or height < 32 or width % 32 or height % 32:
        raise argparse.ArgumentTypeError(f"'{text}': width and height should be multiples of 32, the encoder's stride")
    return width, height


def positive(text: str) -> int:
    """Parses a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' should be a whole number, 1 or more")
    return number


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    from sdeseg_jax.data.builders.registry import BUILDERS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--dataset", required=True, choices=sorted(BUILDERS))
    parser.add_argument("--source", help="the downloaded folder")
    parser.add_argument("--output", help="folder for prepared datasets, the later --config.data.data_dir")
    parser.add_argument(
        "--size",
        type=parse_size,
        default=(0, 0),
        help="WIDTHxHEIGHT of stored images; default: the paper's; folder: about its first image's, sides up to 1024",
    )
    parser.add_argument(
        "--on_corrupt",
        choices=("error", "skip"),
        default="error",
        help="files that cannot be decoded, and labels that differ in size from their image: stop, or leave them out",
    )
    parser.add_argument("--processes", type=positive, default=0, help="to decode and encode; default: one per CPU")
    parser.add_argument("--layout", action="store_true", help="show the expected layout and exit")
    parser.add_argument("--name", help="folder only: the dataset's name, to keep several apart")
    parser.add_argument("--stride", type=positive, help="folder only: keep every n-th frame of the clips")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Prepares one dataset; returns the exit status."""
    arguments = parse_arguments(argv)
    from absl import logging

    from sdeseg_jax.config import UserError
    from sdeseg_jax.data.builders.registry import builder_class
    from sdeseg_jax.data.preparation import prepare_from_source, report_text
    from sdeseg_jax.data.preview_sheet import FILE

    logging.set_verbosity(logging.ERROR)  # TFDS logs every step
    if arguments.layout:
        print(f"{arguments.dataset}: layout expected in --source:\n{builder_class(arguments.dataset).LAYOUT}")
        return 0
    for flag in ("source", "output"):
        if not getattr(arguments, flag):
            print(f"Error: --{flag} is missing", file=sys.stderr)
            return 2
    keys = ("source", "output", "size", "on_corrupt", "processes", "name", "stride")
    options = {key: value for key in keys if (value := getattr(arguments, key)) is not None}
    try:
        builder, before = prepare_from_source(arguments.dataset, **options)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; the same command resumes.", file=sys.stderr)
        return 130
    if before:
        print("Already prepared; to prepare it again, remove this folder:")
    print(f"{builder.data_path}\n{report_text(builder.info.metadata['found'])}")
    if (preview := pathlib.Path(builder.data_path) / FILE).exists():
        print(f"Look at it: {preview}")
    print(f"Read it with: --config.data.data_dir={arguments.output}")
    return 0
