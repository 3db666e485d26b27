r"""Runs the rows of the paper's tables and collects finished runs into tables.

    sdeseg tables --table=ablation --labels=100 --seeds=0,1,2 --root=runs/tables --run \
      --config.data.data_dir=data
    sdeseg tables --table=ablation --config=streets --labels=20 \
      --root=runs/streets --run
    sdeseg tables --dataset=streets --root=runs/streets_tables --run

Without --run, it collects finished runs. With it, it first runs what is missing; after an interruption, the same
command resumes. Rows that need a depth network share one, trained first (with the first seed), and share the depth of a
source domain; rows with selected labels share one selection per method and seed, up to the largest number of labels.
Arguments that begin with --config. are passed to every run. Prints tables as Markdown; --output also writes CSV.
--reference=paper.csv prints other scores next to ours; its columns are row (the name in the table), labels, miou_mean.

--dataset runs all tables that `configs/experiments.py` lists for it and stores the scores in results/<dataset>.json,
from which scripts/write_results.py writes RESULTS.md. Records of runs made elsewhere are kept.
--workers=8 runs several at once, each on its share of the CPU cores. A GPU needs memory for all of them.
"""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Sequence

from sdeseg_jax.commands.reproduction import finished_runs
from sdeseg_jax.commands.reproduction.plan import check_config, check_overrides, check_schedule, plan
from sdeseg_jax.commands.reproduction.running import STOPPED, Stopped, run_tasks, start
from sdeseg_jax.config import UserError
from sdeseg_jax.config.config_files import PACKAGE
from sdeseg_jax.configs.experiments import EXPERIMENTS, Part
from sdeseg_jax.configs.tables import TABLES, Table, rows_for
from sdeseg_jax.report.measured_results import tables_over_seeds as printed
from sdeseg_jax.storage.atomic_files import atomic_write

DATA = " --config.data.data_dir=data"
"""The README's folder for prepared data."""

INDIFFERENT = ("--config.data.data_dir=", "--config.runtime.")
"""Settings that do not affect scores."""


def numbers(text: str) -> tuple[int, ...]:
    """Parses '0,1,2' as (0, 1, 2)."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' should be whole numbers separated by commas") from error


def parse_arguments(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Reads the command line: own arguments, and settings passed to every run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--table", choices=sorted(TABLES))
    what.add_argument("--dataset", choices=sorted(EXPERIMENTS), help="all tables of an experiment")
    parser.add_argument("--config", help="config file, may have arguments; default: the table's")
    parser.add_argument("--labels", type=numbers, help="numbers of labels, the table's columns; default: the paper's")
    parser.add_argument("--seeds", type=numbers, help="default: 0,1,2")
    parser.add_argument("--root", required=True, type=pathlib.Path, help="folder of all runs")
    parser.add_argument("--run", action="store_true", help="run what is missing")
    parser.add_argument("--workers", type=int, default=1, help="runs at once (1)")
    parser.add_argument("--minutes", type=float, help="start no run after this time")
    parser.add_argument("--reference", type=pathlib.Path, help="CSV of scores to print next to ours")
    parser.add_argument("--output", type=pathlib.Path, help="write <output>.md and <output>.csv")
    parser.add_argument(
        "--records",
        type=pathlib.Path,
        help="file for the scores of --dataset; default: results/<dataset>.json, without a checkout in --root",
    )
    arguments, rest = parser.parse_known_args(argv)
    wrong = [one for one in rest if not one.startswith("--config.")]
    if wrong:
        parser.error(f"{wrong[0]} is unknown; settings of the runs look like --config.segmentation.steps=1000")
    if arguments.dataset and any((arguments.config, arguments.labels, arguments.reference, arguments.output)):
        parser.error("--config, --labels, --reference and --output need --table; leave them out with --dataset")
    if arguments.workers < 1:
        parser.error("--workers should be at least 1")
    return arguments, rest


def collect(name: str, table: Table, config: str, labels, seeds, root: pathlib.Path, reference) -> tuple[str, str]:
    """Returns the table of finished runs as Markdown (with the reference's scores) and as CSV.

    Raises:
      ValueError: the runs have different protocols, or a file is damaged.
    """
    rows, read = rows_for(table, config), finished_runs.read_row
    keys = [(row, n) for row in rows for n in labels]
    runs = {(row.name, n): [read(root, config, row.argument, n, seed) for seed in seeds] for row, n in keys}
    done = [run for several in runs.values() for run in several if run]
    protocol = printed.check_protocols(done) + printed.means_over(done)
    cells = {key: printed.make_cell(several, table.depth_metrics) for key, several in runs.items()}
    content = ([row.name for row in rows], labels, cells, protocol, table.depth_metrics)
    return printed.to_markdown(table.title, *content, reference), printed.to_csv(name, *content)


def default_records(name: str, root: pathlib.Path) -> pathlib.Path:
    """Returns the file for the scores of an experiment: in results/ of a checkout, else in the folder of all runs."""
    results = PACKAGE.parent / "results"
    return (results if results.is_dir() else root) / f"{name}.json"


def run_missing(
    parts: Sequence[Part], seeds, root_of, overrides: list[str], arguments: argparse.Namespace, network_seed=None
) -> list[str]:
    """Runs what is not finished; returns the names of runs that failed.

    Raises:
      Stopped: on request, or because time is up.
    """
    tasks = plan(parts, seeds, root_of, overrides, network_seed)
    if arguments.workers > 1:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else the first takes most of a GPU's memory
    return run_tasks(tasks, start, arguments.workers, arguments.minutes)


def reproduce_table(arguments: argparse.Namespace, overrides: list[str]) -> list[str]:
    """Runs and prints one table; returns the names of runs that failed.

    Raises:
      UserError: the config cannot run the table.
      ValueError: a column is not in the selection schedule, or a file is damaged.
      Stopped: see `run_missing`.
    """
    table = TABLES[arguments.table]
    config, labels, seeds = arguments.config or table.config, arguments.labels or table.labels, arguments.seeds
    root, reference, failed, part = arguments.root.absolute(), {}, [], Part(arguments.table, config, labels)
    if arguments.reference:
        names = [row.name for row in rows_for(table, config)]
        reference = printed.read_reference(arguments.reference, arguments.table, names)
    check_config(part)
    if arguments.run:
        check_schedule(part, overrides)
        failed = run_missing([part], seeds, lambda _: root, overrides, arguments)
    markdown, values = collect(arguments.table, table, config, labels, seeds, root, reference)
    print(markdown)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        for suffix, text in ((".md", markdown), (".csv", values)):
            arguments.output.with_name(arguments.output.name + suffix).write_text(text)
    return failed


def reproduce_dataset(arguments: argparse.Namespace, overrides: list[str]) -> list[str]:
    """Runs all tables of an experiment and stores the scores; returns the names of runs that failed.

    Raises:
      UserError: a config cannot run its table.
      ValueError: seeds are not the experiment's, or a file is damaged or belongs to other settings.
      Stopped: see `run_missing`; scores of finished runs are stored all the same.
    """
    name, experiment, root = arguments.dataset, EXPERIMENTS[arguments.dataset], arguments.root.absolute()
    seeds, failed = arguments.seeds or experiment.seeds, []
    if not {*seeds} <= {*experiment.seeds}:
        raise ValueError(f"--seeds: the experiment has only {','.join(map(str, experiment.seeds))}")
    path = arguments.records or default_records(name, root)
    # One value per setting: ml_collections would join lists that are given twice.
    settings = list({one.partition("=")[0]: one for one in (*experiment.overrides, *overrides)}.values())
    decisive = [one for one in settings if not one.startswith(INDIFFERENT)]

    def root_of(config: str) -> pathlib.Path:
        return root / pathlib.Path(config.partition(":")[0]).stem

    for part in experiment.parts:
        check_config(part)
        check_schedule(part, settings)
    finished_runs.read(path, decisive)
    keep_settings(root / "settings.json", decisive)
    try:
        if arguments.run:
            failed = run_missing(experiment.parts, seeds, root_of, settings, arguments, experiment.seeds[0])
    finally:
        known = finished_runs.read(path, decisive)  # again: others may have written to it meanwhile
        runs = finished_runs.collect(experiment.parts, experiment.seeds, root_of, known)
        command = f"sdeseg tables --dataset={name} --root=runs/{name}_tables --run{DATA}"
        finished_runs.write(path, {"experiment": name, "command": command, "settings": decisive}, runs)
        print(f"{path}: {len(runs)} finished runs")
    return failed


def keep_settings(path: pathlib.Path, settings: list[str]) -> None:
    """Writes the settings that all runs of a folder share.

    Raises:
      ValueError: the folder's runs have other settings, or the file is damaged.
    """
    if path.exists():
        finished_runs.check_settings(path, finished_runs.read_json(path), settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(settings, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Runs and collects; returns the exit status."""
    arguments, overrides = parse_arguments(argv)
    try:
        check_overrides(overrides)
        if arguments.table:
            arguments.seeds = arguments.seeds or (0, 1, 2)
            failed = reproduce_table(arguments, overrides)
        else:
            failed = reproduce_dataset(arguments, overrides)
    except Stopped as stopped:
        for name in stopped.failed:
            print(f"Failed: {name}", file=sys.stderr)
        print("Stopped; the same command resumes.", file=sys.stderr)
        return STOPPED
    except (OSError, UserError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    for name in failed:
        print(f"Failed: {name}", file=sys.stderr)
    return 1 if failed else 0
