"""The command `sdeseg`: a job of a run, or a command of this folder, by name."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Sequence

import sdeseg_jax
from sdeseg_jax.config import UserError
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.jobs import JOBS
from sdeseg_jax.runs.installed_extras import check_extras


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that is no job.

    Attributes:
      module: in this package, with `main(argv) -> exit status`.
      help: one line for `--help`.
      extras: of the installation that it needs.
    """

    module: str
    help: str
    extras: tuple[str, ...] = ("data",)


COMMANDS = {
    "prepare": Command("prepare_data", "prepare a downloaded dataset, or your own images and videos, once"),
    "import-weights": Command("import_weights", "convert published PyTorch weights to start from", ()),
    "annotation-package": Command("annotation_package", "package selected frames for Label Studio and CVAT"),
    "import-labels": Command("import_labels", "convert annotations of Label Studio, CVAT or COCO to label files"),
    "tables": Command("reproduce_tables", "run the rows of the paper's tables and collect their scores"),
    "benchmark": Command("benchmark", "measure speed next to a reference", ()),
}

RUN = "run"
SUBJOBS = {name.replace("_", "-"): name for name in JOBS if name != "pipeline"}
"""Command -> job."""


def overview() -> str:
    """Returns the text of `sdeseg --help`."""
    groups = {
        "Train": {RUN: JOBS["pipeline"].help},
        "One stage of a run, or something with its result": {name: JOBS[job].help for name, job in SUBJOBS.items()},
        "Before and after": {name: command.help for name, command in COMMANDS.items()},
    }
    lines = ["Semantic segmentation from driving video with few labels, helped by depth learned from the video.", ""]
    lines += ["  sdeseg COMMAND --help     explains a command", ""]
    lines += ["  sdeseg run --config=streets --workdir=runs/streets     tries the method on a CPU, with no download"]
    for title, entries in groups.items():
        lines += ["", f"{title}:", *(f"  {name:<23}{text}" for name, text in entries.items())]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    name, *rest = [*(sys.argv[1:] if argv is None else argv)] or ["--help"]
    if name in ("--help", "-h", "-help", "help"):
        return _show(overview())
    if name == "--version":
        return _show(f"sdeseg_jax {sdeseg_jax.__version__}")
    name = name.replace("_", "-")
    if name in COMMANDS:
        sys.argv = [f"sdeseg {name}", *rest]
        command = COMMANDS[name]
        try:
            if rest and not {"-h", "--help"} & {*rest}:
                check_extras((extra, f"sdeseg {name}") for extra in command.extras)
        except UserError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 2
        return importlib.import_module(f"{__package__}.{command.module}").main(rest) or 0
    if name == RUN or name in SUBJOBS:
        job = [] if name == RUN else [f"--job={SUBJOBS[name]}"]
        sys.argv = [f"sdeseg {name}", *job, *rest]  # where ml_collections looks for settings
        importlib.import_module("sdeseg_jax.main").start()
        return 0
    print(f"Error: sdeseg {name}: no such command{nearest(name, (RUN, *SUBJOBS, *COMMANDS))}", file=sys.stderr)
    return 2


def _show(text: str) -> int:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # head, or a pager that was closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
