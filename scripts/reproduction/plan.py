"""Which runs tables consist of, what they share, and in which order they come."""

import ast
import dataclasses
import pathlib
import runpy
from collections.abc import Callable, Iterable, Iterator, Sequence

from configs.common import parse_arguments as parse_row
from configs.experiments import Part
from configs.tables import TABLES, Row, Table, rows_for, selection_depth
from sdeseg_jax.config import UserError, unknown_keys
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.report.measured_results.tables_over_seeds import argument_for, without_selection

ROOT = pathlib.Path(__file__).resolve().parents[2]

NETWORK_STAGES = ("pretrain_depth", "estimate_depth", "evaluate")
"""What rows share: a depth network, its disparity, its scores."""

SOURCE_DEPTH = "source"
"""Stands for the depth network of the source domain, and its disparity, among those that rows share."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One pipeline.

    Attributes:
      name: for people.
      config: config file, arguments with it.
      argument: more of its arguments.
      workdir: of the run; tells tasks apart.
      overrides: settings of it, as on the command line.
      needs: workdirs of the tasks without which it cannot run.
      results: files that it leaves; if all exist, it is done.
      file: one of another task that it reads, and what that is, or None.
    """

    name: str
    config: str
    argument: str
    workdir: pathlib.Path
    overrides: tuple[str, ...]
    needs: tuple[pathlib.Path, ...] = ()
    results: tuple[pathlib.Path, ...] = ()
    file: tuple[pathlib.Path, str] | None = None

    @property
    def done(self) -> bool:
        """Whether it left its results; never without any, where the pipeline itself knows what is finished."""
        return bool(self.results) and all(path.exists() for path in self.results)


def folder_name(argument: str) -> str:
    """'mix=depth,depth=none' -> 'mix-depth_depth-none'."""
    return argument.replace("=", "-").replace(",", "_")


def run_folder(root: pathlib.Path, argument: str, labels: int, seed: int) -> pathlib.Path:
    """Workdir of one run."""
    return root / folder_name(argument_for(argument, labels)) / f"labels{labels}_seed{seed}"


def selection_folder(root: pathlib.Path, method: str, seed: int) -> pathlib.Path:
    """Workdir of a data selection."""
    return root / "selections" / method / f"seed{seed}"


def network_folder(root: pathlib.Path, argument: str) -> pathlib.Path:
    """Workdir of a depth network that rows share."""
    return root / "depth_networks" / folder_name(argument)


def parse(argument: str) -> dict:
    """The values of a row's argument."""
    defaults = {"mix": "depth", "depth": "feature_distance", "multitask": False, "frames": 1.0, "selection": "by_seed"}
    trained = {"steps": 0, "disparity": "auto", "depth_weight": 1.0}
    return parse_row(argument, **defaults, **trained, source=False, cross="none", matching="false")


def row_config(config: str, argument: str):
    """The config of a row.

    Raises:
      ConfigError: there is no such config file, or it does not know an argument of the row.
    """
    file, _, given = config.partition(":")
    path = ROOT / file
    if not file:
        raise UserError(f"--config={config} names no file; it begins with one: configs/streets.py{config}")
    if path.suffix != ".py" or not path.is_file():
        files = (str(pathlib.Path(file).with_name(one.name)) for one in path.parent.glob("*.py"))
        raise UserError(f"--config={file}: there is no such file{nearest(file, files)}")
    get_config = runpy.run_path(str(path)).get("get_config")
    if get_config is None:
        raise UserError(f"--config={file} is no config: it has no get_config")
    return get_config(",".join(filter(None, (given, argument))))


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


def stages_of(config: str, argument: str) -> tuple[str, ...]:
    """What a row's run consists of, its depth network with disparity and its selection being there."""
    stages = row_config(config, without_selection(argument)).pipeline.stages
    return tuple(stage for stage in stages if stage in ("estimate_source_depth", "train", "evaluate"))


def check_config(part: Part) -> None:
    """Raises ConfigError if a config cannot run a table; the message names what is wrong, and configs that can."""
    row_config(part.config, "")  # what is wrong with the config itself is of no table
    if problem := _misfit(TABLES[part.table], part.config):
        files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").glob("*.py"))
        fitting = ", ".join(file for file in files if _misfit(TABLES[part.table], file) is None)
        raise UserError(
            f"--table={part.table} cannot be run with --config={part.config}: {problem}. Configs that it can be run "
            f"with: {fitting}"
        )


def _misfit(table: Table, config: str) -> str | None:
    """Why a config cannot run a table, if so: it lacks an argument of a row, or has a source domain alone."""
    for row in rows_for(table, config):
        try:
            found = row_config(config, f"{row.argument},labels=1,seed=0")
        except UserError as error:
            return f"row '{row.name}': {error}"
        if found.source.name and "source=" not in row.argument:
            return "the table is of a single domain, the config has a source domain"
    return None


def check_overrides(overrides: Iterable[str]) -> None:
    """Raises ConfigError that lists arguments like --config.section.key=value that name no setting."""
    if problems := unknown_keys(one.removeprefix("--config.").partition("=")[0] for one in overrides):
        raise UserError("\n  ".join(problems))


def check_schedule(part: Part, overrides: Sequence[str]) -> None:
    """Raises ValueError if a column is no step of the schedule that a selection follows."""
    columns = [n for n in part.labels if n]
    given = any(one.startswith("--config.selection.schedule") for one in overrides)
    if given or not columns or not selection_methods(TABLES[part.table]):
        return
    schedule = row_config(part.config, f"selection=diversity,labels={max(columns)}").selection.schedule
    if wrong := [n for n in columns if n not in schedule]:
        raise ValueError(f"--labels: {wrong[0]} is no step of config.selection.schedule, {tuple(schedule)}")


def plan(
    parts: Sequence[Part],
    seeds: Sequence[int],
    root_of: Callable[[str], pathlib.Path],
    overrides: Sequence[str],
    network_seed: int | None = None,
) -> list[Task]:
    """Everything that tables need, in the order to run it: all of one seed before the next, and each run once.

    Depth networks and selections (up to the largest number of labels) come before the first table that needs them.

    Args:
      parts: tables.
      seeds: see above.
      root_of: config -> folder of its runs.
      overrides: settings of all runs.
      network_seed: of the depth networks, which all seeds share; by default the first of `seeds`.
    """
    network_seed = seeds[0] if network_seed is None else network_seed
    tasks: dict[pathlib.Path, Task] = {}

    def add(found: Iterable[Task]) -> None:
        for task in found:
            tasks.setdefault(task.workdir, task)

    # A selection is made up to the most labels that a table of the config wants of it; the others take a part of it.
    wanted = {
        (part.config, method): {n for part_ in parts if part_.config == part.config for n in _selected(part_, method)}
        for part in parts
        for method in selection_methods(TABLES[part.table])
    }
    for seed in seeds:
        for part in parts:
            config, root = part.config, root_of(part.config)
            add(_networks(part, network_seed, root, overrides))
            for method in selection_methods(TABLES[part.table]):
                if numbers := sorted(wanted[config, method]):
                    add([_selection(config, method, seed, root, overrides, numbers)])
            for n in part.labels:
                for row in rows_for(TABLES[part.table], config):
                    add([_run(config, row, n, seed, root, overrides)])
    return list(tasks.values())


def _selected(part: Part, method: str) -> list[int]:
    """Numbers of labels that a table wants of a selection."""
    return [n for n in part.labels if n] if method in selection_methods(TABLES[part.table]) else []


def _borrowed(network: pathlib.Path) -> tuple[str, str]:
    """Settings of a run that uses a depth network and its disparity."""
    return f"--config.depth.workdir={network}", f"--config.estimate.workdir={network}"


def _networks(part: Part, seed: int, root: pathlib.Path, overrides: Sequence[str]) -> Iterator[Task]:
    table, config = TABLES[part.table], part.config
    rows = rows_for(table, config)
    of_selection = f"depth={selection_depth(config)}" if selection_methods(table) else None
    networks = dict.fromkeys([of_selection, *(depth_arguments(config, row.argument) for row in rows)])
    for argument in filter(None, networks):
        own = f"--config.pipeline.stages={NETWORK_STAGES!r}"
        yield Task(
            argument, config, f"{argument},seed={seed}", network_folder(root, argument), (own, *overrides)
        )  # fmt: skip
    if any("estimate_source_depth" in stages_of(config, row.argument) for row in rows):
        own = "--config.pipeline.stages=('pretrain_source_depth', 'estimate_source_depth')"
        yield Task(SOURCE_DEPTH, config, f"seed={seed}", network_folder(root, SOURCE_DEPTH), (own, *overrides))


def _up_to(most: int, overrides: Sequence[str]) -> Iterator[str]:
    """Settings of which a schedule of selections goes no further than it is wanted."""
    for one in overrides:
        key, _, value = one.partition("=")
        if key == "--config.selection.schedule":
            one = f"{key}={tuple(n for n in ast.literal_eval(value) if n <= most)!r}"
        yield one


def _selection(
    config: str, method: str, seed: int, root: pathlib.Path, overrides: Sequence[str], numbers: Sequence[int]
) -> Task:
    network, folder = network_folder(root, f"depth={selection_depth(config)}"), selection_folder(root, method, seed)
    own = ("--config.pipeline.stages=('select_labels',)", *_borrowed(network))
    most, results = max(numbers), tuple(folder / "selection" / f"{n}.json" for n in numbers)
    return Task(
        f"selection: {method}, seed {seed}", config, f"selection={method},labels={most},seed={seed}", folder,
        (*own, *_up_to(most, overrides)), (network,), results,
    )  # fmt: skip


def _run(config: str, row: Row, n: int, seed: int, root: pathlib.Path, overrides: Sequence[str]) -> Task:
    argument = argument_for(row.argument, n)
    stages, network = stages_of(config, argument), depth_arguments(config, argument)
    method, chosen = parse(argument)["selection"], f"{without_selection(argument)},labels={n},seed={seed}"
    workdir, needs, file = run_folder(root, argument, n, seed), [], None
    own = [f"--config.pipeline.stages={stages!r}"]
    if network:
        own += [*_borrowed(network_folder(root, network)), "--config.evaluation.depth=False"]
        needs.append(network_folder(root, network))
    if "estimate_source_depth" in stages:
        own.append(f"--config.source.workdir={network_folder(root, SOURCE_DEPTH)}")
        needs.append(network_folder(root, SOURCE_DEPTH))
    if method != "by_seed":
        file = selection_folder(root, method, seed) / "selection" / f"{n}.json", f"no selection of {n}"
        own.append(f"--config.data.labels_file={file[0]}")
        needs.append(selection_folder(root, method, seed))
    return Task(
        f"{row.name}, {n} labels, seed {seed}", config, chosen, workdir, (*own, *overrides), tuple(needs),
        (workdir / "metrics.json",), file,
    )  # fmt: skip
