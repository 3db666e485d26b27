"""Runs the rows of the paper's tables, and collects finished runs into tables.

    python scripts/reproduce_tables.py --table=ablation --labels=100 --seeds=0,1,2 --root=runs/tables --run \
      --config.data.data_dir=data --config.init.encoder=weights/resnet101 --config.init.pose=weights/resnet18
    python scripts/reproduce_tables.py --table=ablation --config=configs/streets.py --labels=20 \
      --root=runs/streets --run
    python scripts/reproduce_tables.py --dataset=streets --root=runs/streets_tables --run

Without --run it collects what is there. With it, what is missing is run; an interrupted call goes on where it was when
it is repeated. Rows that need a depth network share one, which is trained first (with the first seed), and the depth of
a source domain; rows whose labels are selected share the selection of a method and seed, made up to the largest number
of labels. Arguments that begin with --config. go to every run. Tables come out as Markdown, and as CSV with --output.
--reference=paper.csv puts scores from elsewhere beside ours: columns row (as the table names it), labels, miou_mean.

--dataset runs all tables that `configs/experiments.py` has of it, and keeps the scores in results/<dataset>.json, which
scripts/write_results.py makes RESULTS.md of. What it has of runs elsewhere stays in it.
--workers=8 runs several at once, where a machine has room for them (on GPUs, each takes the memory it needs), each on
its share of the CPU cores.
"""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]  # works without installation, too

from reproduction import records  # noqa: E402
from reproduction.plan import check_config, check_overrides, check_schedule, plan  # noqa: E402
from reproduction.running import STOPPED, Stopped, run_tasks, start  # noqa: E402

from configs.experiments import EXPERIMENTS, Part  # noqa: E402
from configs.tables import TABLES, Table, rows_for  # noqa: E402
from sdeseg_jax.config import UserError  # noqa: E402
from sdeseg_jax.report.measured_results.tables_over_seeds import (  # noqa: E402
    check_protocols,
    make_cell,
    read_reference,
    to_csv,
    to_markdown,
)
from sdeseg_jax.storage.atomic_files import atomic_write  # noqa: E402

DATA = " --config.data.data_dir=data"
"""Where the README's commands prepare data."""

INDIFFERENT = ("--config.data.data_dir=", "--config.runtime.")
"""Settings that do not matter to scores."""


def numbers(text: str) -> tuple[int, ...]:
    """'0,1,2' -> (0, 1, 2)."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' should be whole numbers with commas between them") from error


def parse_arguments(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Reads the command line: own arguments, and those that go to every run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--table", choices=sorted(TABLES))
    what.add_argument("--dataset", choices=sorted(EXPERIMENTS), help="all tables of an experiment")
    parser.add_argument("--config", help="of a table; default: that of the paper's table; may have arguments")
    parser.add_argument("--labels", type=numbers, help="columns of a table; default: the paper's")
    parser.add_argument("--seeds", type=numbers, help="default: 0,1,2")
    parser.add_argument("--root", required=True, type=pathlib.Path, help="folder of all runs")
    parser.add_argument("--run", action="store_true", help="run what is missing")
    parser.add_argument("--workers", type=int, default=1, help="how many to run at once (1)")
    parser.add_argument("--minutes", type=float, help="begin nothing new after so many")
    parser.add_argument("--reference", type=pathlib.Path, help="CSV of scores to print beside ours")
    parser.add_argument("--output", type=pathlib.Path, help="write <output>.md and <output>.csv")
    parser.add_argument("--records", type=pathlib.Path, help="of a dataset: default results/<dataset>.json")
    arguments, rest = parser.parse_known_args(argv)
    wrong = [one for one in rest if not one.startswith("--config.")]
    if wrong:
        parser.error(f"{wrong[0]}: unknown; arguments for the runs look like --config.segmentation.steps=1000")
    if arguments.dataset and any((arguments.config, arguments.labels, arguments.reference, arguments.output)):
        parser.error("--config, --labels, --reference and --output are of a --table, not of a --dataset")
    if arguments.workers < 1:
        parser.error("--workers should be at least 1")
    return arguments, rest


def collect(name: str, table: Table, config: str, labels, seeds, root: pathlib.Path, reference) -> tuple[str, str]:
    """The table of what is finished, as Markdown (with the reference's scores) and CSV.

    Raises:
      ValueError: runs were scored by different protocols, or a file is damaged.
    """
    rows = rows_for(table, config)
    runs = {
        (row.name, n): [records.read_row(root, config, row.argument, n, seed) for seed in seeds]
        for row in rows
        for n in labels
    }
    protocol = check_protocols([run for several in runs.values() for run in several if run])
    cells = {key: make_cell(several, table.depth_metrics) for key, several in runs.items()}
    content = ([row.name for row in rows], labels, cells, protocol, table.depth_metrics)
    return to_markdown(table.title, *content, reference), to_csv(name, *content)


def run_missing(
    parts: Sequence[Part], seeds, root_of, overrides: list[str], arguments: argparse.Namespace, network_seed=None
) -> list[str]:
    """Runs what is not finished; returns what failed.

    Raises:
      Stopped: it was asked to stop, or time was up.
    """
    tasks = plan(parts, seeds, root_of, overrides, network_seed)
    if arguments.workers > 1:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or the first takes most of a GPU's memory
    return run_tasks(tasks, start, arguments.workers, arguments.minutes)


def of_table(arguments: argparse.Namespace, overrides: list[str]) -> list[str]:
    """Runs and prints one table; returns what failed.

    Raises:
      ValueError: the config cannot run it, or a file is damaged.
      Stopped: see `run_missing`.
    """
    table = TABLES[arguments.table]
    config, labels, seeds = arguments.config or table.config, arguments.labels or table.labels, arguments.seeds
    root, reference, failed, part = arguments.root.absolute(), {}, [], Part(arguments.table, config, labels)
    if arguments.reference:
        reference = read_reference(arguments.reference, arguments.table, [row.name for row in rows_for(table, config)])
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


def of_dataset(arguments: argparse.Namespace, overrides: list[str]) -> list[str]:
    """Runs all tables of an experiment and keeps the scores; returns what failed.

    Raises:
      ValueError: seeds are not the experiment's, a file is damaged or of other settings.
      Stopped: see `run_missing`; the scores of what is finished are kept all the same.
    """
    name, experiment, root = arguments.dataset, EXPERIMENTS[arguments.dataset], arguments.root.absolute()
    seeds, failed = arguments.seeds or experiment.seeds, []
    if not {*seeds} <= {*experiment.seeds}:
        raise ValueError(f"--seeds: the tables are of seeds {','.join(map(str, experiment.seeds))}")
    path = arguments.records or ROOT / "results" / f"{name}.json"
    # By name: of a setting that is given twice, lists would be joined.
    settings = list({one.partition("=")[0]: one for one in (*experiment.overrides, *overrides)}.values())
    decisive = [one for one in settings if not one.startswith(INDIFFERENT)]

    def root_of(config: str) -> pathlib.Path:
        return root / pathlib.Path(config.partition(":")[0]).stem

    for part in experiment.parts:
        check_config(part)
        check_schedule(part, settings)
    records.read(path, decisive)
    keep_settings(root / "settings.json", decisive)
    try:
        if arguments.run:
            failed = run_missing(experiment.parts, seeds, root_of, settings, arguments, experiment.seeds[0])
    finally:
        # Read again: others may have written to it meanwhile.
        runs = records.collect(experiment.parts, experiment.seeds, root_of, records.read(path, decisive))
        command = f"python scripts/reproduce_tables.py --dataset={name} --root=runs/{name}_tables --run{DATA}"
        records.write(path, {"experiment": name, "command": command, "settings": decisive}, runs)
        print(f"{path}: {len(runs)} finished runs")
    return failed


def keep_settings(path: pathlib.Path, settings: list[str]) -> None:
    """Writes down what the runs of a folder have in common.

    Raises:
      ValueError: it was begun with other settings, or the file is damaged.
    """
    if path.exists():
        try:
            theirs = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        records.check_settings(path, theirs, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(settings, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Runs and collects; returns the exit status."""
    arguments, overrides = parse_arguments(argv)
    try:
        check_overrides(overrides)
        if arguments.table:
            arguments.seeds = arguments.seeds or (0, 1, 2)
            failed = of_table(arguments, overrides)
        else:
            failed = of_dataset(arguments, overrides)
    except Stopped as stopped:
        for what in stopped.failed:
            print(f"Failed: {what}", file=sys.stderr)
        print("Stopped; the same command goes on.", file=sys.stderr)
        return STOPPED
    except (OSError, UserError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    for what in failed:
        print(f"Failed: {what}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
