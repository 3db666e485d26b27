"""Runs the rows of the paper's tables, and collects finished runs into tables.

    python scripts/reproduce_tables.py --table=ablation --labels=100 --seeds=0,1,2 --root=runs/tables --run \
      --config.data.data_dir=data --config.init.encoder=weights/resnet101 --config.init.pose=weights/resnet18
    python scripts/reproduce_tables.py --table=ablation --config=configs/streets.py --labels=20 \
      --root=runs/streets --run

Without --run it collects what is there. With it, what is missing is run one after another; an interrupted call goes on
where it was when it is repeated. Rows that need a depth network share one, which is trained first (with the first
seed), and the depth of a source domain; rows whose labels are selected share the selection of a method and seed, made
up to the largest number of labels. Arguments that begin with --config. go to every run. Tables come out as Markdown,
and as CSV with --output.
--reference=paper.csv puts scores from elsewhere beside ours: columns row (as the table names it), labels, miou_mean.
"""

import argparse
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import time

STOPPED = 75
"""Exit code of a run that was asked to stop."""

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works without installation, too

from configs.common import parse_arguments as parse_row  # noqa: E402
from configs.tables import TABLES, Table, rows_for, selection_depth  # noqa: E402
from sdeseg_jax.report.tables import check_protocols, make_cell, read_reference, read_run, to_csv, to_markdown  # noqa: E402


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
    parser.add_argument("--table", choices=sorted(TABLES), required=True)
    parser.add_argument("--config", help="default: that of the paper's table; may have arguments")
    parser.add_argument("--labels", type=numbers, help="columns; default: the paper's")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2))
    parser.add_argument("--root", required=True, type=pathlib.Path, help="folder of all runs")
    parser.add_argument("--run", action="store_true", help="run what is missing")
    parser.add_argument("--reference", type=pathlib.Path, help="CSV of scores to print beside ours")
    parser.add_argument("--output", type=pathlib.Path, help="write <output>.md and <output>.csv")
    arguments, rest = parser.parse_known_args(argv)
    wrong = [one for one in rest if not one.startswith("--config.")]
    if wrong:
        parser.error(f"{wrong[0]}: unknown; arguments for the runs look like --config.segmentation.steps=1000")
    return arguments, rest


def folder_name(argument: str) -> str:
    """'mix=depth,depth=none' -> 'mix-depth_depth-none'."""
    return argument.replace("=", "-").replace(",", "_")


def run_folder(root: pathlib.Path, argument: str, labels: int, seed: int) -> pathlib.Path:
    """Workdir of one run."""
    return root / folder_name(argument) / f"labels{labels}_seed{seed}"


def selection_folder(root: pathlib.Path, method: str, seed: int) -> pathlib.Path:
    """Workdir of a data selection."""
    return root / "selections" / method / f"seed{seed}"


def parse(argument: str) -> dict:
    """The values of a row's argument."""
    defaults = {"mix": "depth", "depth": "feature_distance", "multitask": False, "frames": 1.0, "selection": "by_seed"}
    return parse_row(argument, **defaults, source=False, cross="none", matching="false")


def row_config(config: str, argument: str):
    """The config of a row.

    Raises:
      ConfigError: the config file does not know an argument of the row.
    """
    file, _, given = config.partition(":")
    return runpy.run_path(str(ROOT / file))["get_config"](",".join(filter(None, (given, argument))))


def without_selection(argument: str) -> str:
    """A row's argument for its training, which gets the selected labels as a file."""
    return ",".join(item for item in argument.split(",") if not item.startswith("selection="))


def selection_methods(table: Table) -> list[str]:
    """Methods of `select_labels` that the rows need."""
    methods = (parse(row.argument)["selection"] for row in table.rows)
    return list(dict.fromkeys(method for method in methods if method != "by_seed"))


def depth_arguments(config: str, argument: str) -> str | None:
    """The part of a row's argument that its depth network depends on; None if it uses none."""
    values = parse(argument)
    if "pretrain_depth" not in row_config(config, without_selection(argument)).pipeline.stages:
        return None
    # Without transfer, the depth network still mixes.
    depth = {"none": "transfer"}.get(values["depth"], values["depth"])
    return f"depth={depth}" + (f",frames={values['frames']:g}" if values["frames"] != 1 else "")


def run_to_end(command: list[str], **settings) -> int:
    """Runs a command and returns its exit code; passes on requests to stop, so that it can save and end first."""
    # A session of its own: of Ctrl-C in a terminal it would hear twice, which means to stop at once.
    numbers, children = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP), []

    def pass_on(number, _):
        for child in children:
            child.send_signal(number)
        if not children:
            raise SystemExit(STOPPED)

    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        children.append(subprocess.Popen(command, start_new_session=True, **settings))
        return children[0].wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(config: str, argument: str, workdir: pathlib.Path, overrides: list[str]) -> bool:
    """Runs one pipeline, its output in a file of its workdir; returns whether it succeeded."""
    workdir.mkdir(parents=True, exist_ok=True)
    file, _, given = config.partition(":")
    chosen = f"--config={file}:{','.join(filter(None, (given, argument)))}"
    command = [sys.executable, "-m", "sdeseg_jax.main", chosen, f"--workdir={workdir}"]
    log, began = workdir / "log.txt", time.monotonic()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    with log.open("a") as stream:
        status = run_to_end([*command, *overrides], stdout=stream, stderr=stream, env=environment)
    minutes = (time.monotonic() - began) / 60
    if status == STOPPED:
        print(f"  stopped after {minutes:.1f} min; the same command goes on")
        raise SystemExit(STOPPED)
    if status:
        print(f"  failed after {minutes:.1f} min; the end of {log}:\n" + "\n".join(log.read_text().splitlines()[-8:]))
    else:
        print(f"  {minutes:.1f} min", flush=True)
    return status == 0


def run_missing(table: Table, config: str, labels, seeds, root: pathlib.Path, overrides: list[str]) -> list[str]:
    """Runs what is not finished: depth networks first, then the rows. Returns what failed."""
    rows, failed, methods = rows_for(table, config), [], selection_methods(table)
    of_selection = f"depth={selection_depth(config)}" if methods else None
    networks = dict.fromkeys([of_selection, *(depth_arguments(config, row.argument) for row in rows)])
    with_source = any("estimate_source_depth" in stages_of(config, row.argument) for row in rows)
    for argument in filter(None, (*networks, SOURCE_DEPTH if with_source else None)):
        folder = root / "depth_networks" / folder_name(argument)
        print(f"depth network: {argument}", flush=True)
        stages = ("pretrain_source_depth", "estimate_source_depth") if argument == SOURCE_DEPTH else ("pretrain_depth",)
        own = [f"--config.pipeline.stages={stages!r}"]
        chosen = ",".join(filter(None, (argument.removeprefix(SOURCE_DEPTH), f"seed={seeds[0]}")))
        if not start(config, chosen, folder, [*own, *overrides]):
            failed.append(argument)
    for seed in seeds:
        for method in methods:
            folder = selection_folder(root, method, seed)
            files = [folder / "selection" / f"{n}.json" for n in labels]
            if of_selection in failed or all(file.exists() for file in files):
                continue
            print(f"selection: {method}, seed {seed}", flush=True)
            own = [f"--config.pipeline.stages={SELECTION_STAGES.get(method, ('select_labels',))!r}"]
            own.append(f"--config.depth.workdir={root / 'depth_networks' / folder_name(of_selection)}")
            if not start(config, f"selection={method},labels={max(labels)},seed={seed}", folder, [*own, *overrides]):
                failed.append(f"selection: {method}, seed {seed}")
        for n in labels:
            for row in rows:
                workdir, argument = run_folder(root, row.argument, n, seed), depth_arguments(config, row.argument)
                stages = stages_of(config, row.argument)
                shared = [argument, *([SOURCE_DEPTH] if "estimate_source_depth" in stages else [])]
                method = parse(row.argument)["selection"]
                file = selection_folder(root, method, seed) / "selection" / f"{n}.json"
                if set(shared) & set(failed) or read_run(workdir):
                    continue
                if method != "by_seed" and not file.exists():
                    failed.append(f"{row.name}, {n} labels, seed {seed}: no selection of {n}")
                    continue
                print(f"{row.name}, {n} labels, seed {seed}", flush=True)
                own = [f"--config.pipeline.stages={stages!r}"]
                if argument:
                    own.append(f"--config.depth.workdir={root / 'depth_networks' / folder_name(argument)}")
                if SOURCE_DEPTH in shared:
                    own.append(f"--config.source.workdir={root / 'depth_networks' / SOURCE_DEPTH}")
                if method != "by_seed":
                    own.append(f"--config.data.labels_file={file}")
                chosen = f"{without_selection(row.argument)},labels={n},seed={seed}"
                if not start(config, chosen, workdir, [*own, *overrides]):
                    failed.append(f"{row.name}, {n} labels, seed {seed}")
    return failed


SELECTION_STAGES = dict.fromkeys(("uncertainty", "ds_us"), ("estimate_depth", "select_labels"))
"""What a selection consists of, its depth network being there, where that is more than itself."""

SOURCE_DEPTH = "source"
"""Stands for the depth network of the source domain, and its disparity, among those that rows share."""


def check_schedule(config: str, labels) -> None:
    """Raises ValueError if a column is no step of the schedule that a selection follows."""
    schedule = row_config(config, f"selection=diversity,labels={max(labels)}").selection.schedule
    if wrong := [n for n in labels if n not in schedule]:
        raise ValueError(f"--labels: {wrong[0]} is no step of config.selection.schedule, {tuple(schedule)}")


def stages_of(config: str, argument: str) -> tuple[str, ...]:
    """What a row's run consists of, its depth network and its selection being there."""
    stages = row_config(config, without_selection(argument)).pipeline.stages
    return tuple(stage for stage in stages if stage in ("estimate_depth", "estimate_source_depth", "train", "evaluate"))


def collect(name: str, table: Table, config: str, labels, seeds, root: pathlib.Path, reference) -> tuple[str, str]:
    """The table of what is finished, as Markdown (with the reference's scores) and CSV.

    Raises:
      ValueError: runs were scored by different protocols, or a file is damaged.
    """
    rows = rows_for(table, config)
    runs = {
        (row.name, n): [read_run(run_folder(root, row.argument, n, seed)) for seed in seeds]
        for row in rows
        for n in labels
    }
    protocol = check_protocols([run for several in runs.values() for run in several if run])
    cells = {key: make_cell(several, table.depth_metrics) for key, several in runs.items()}
    content = ([row.name for row in rows], labels, cells, protocol, table.depth_metrics)
    return to_markdown(table.title, *content, reference), to_csv(name, *content)


def main(argv: list[str] | None = None) -> int:
    """Runs and collects; returns the exit status."""
    arguments, overrides = parse_arguments(argv)
    table = TABLES[arguments.table]
    config, labels = arguments.config or table.config, arguments.labels or table.labels
    root, reference, failed = arguments.root.absolute(), {}, []
    try:
        if arguments.reference:
            names = [row.name for row in rows_for(table, config)]
            reference = read_reference(arguments.reference, arguments.table, names)
        for row in rows_for(table, config):
            if row_config(config, row.argument).source.name and "source=" not in row.argument:
                raise ValueError(f"--table={arguments.table} is of a single domain; {config} has a source domain")
        if arguments.run:
            if selection_methods(table) and not any(one.startswith("--config.selection.schedule") for one in overrides):
                check_schedule(config, labels)
            failed = run_missing(table, config, labels, arguments.seeds, root, overrides)
        markdown, values = collect(arguments.table, table, config, labels, arguments.seeds, root, reference)
    except (OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(markdown)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        for suffix, text in ((".md", markdown), (".csv", values)):
            arguments.output.with_name(arguments.output.name + suffix).write_text(text)
    for what in failed:
        print(f"Failed: {what}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
