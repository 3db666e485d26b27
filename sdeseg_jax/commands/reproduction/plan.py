"""The runs that tables consist of, what they share, and their order."""

import ast
import dataclasses
import pathlib
import runpy
from collections.abc import Callable, Iterable, Iterator, Sequence

from sdeseg_jax.config import UserError, unknown_keys
from sdeseg_jax.config.config_files import FOLDER, config_files, find_config
from sdeseg_jax.configs.experiments import Part
from sdeseg_jax.configs.tables import TABLES, Row, Table, rows_for, selection_depth
from sdeseg_jax.report.measured_results.tables_over_seeds import argument_for, without_selection

NETWORK_STAGES = ("pretrain_depth", "estimate_depth", "evaluate")
"""Stages that rows share: a depth network, its disparity, its scores."""

SOURCE_DEPTH = "source"
"""Folder of the source domain's depth network and disparity, next to the other shared networks."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One pipeline run.

    Attributes:
      name: shown to the user.
      config: config file, may have arguments.
      argument: further arguments of the config.
      workdir: identifies the task.
      overrides: settings, as on the command line.
      needs: workdirs of the tasks that have to succeed first.
      results: files that it writes; it is done if all exist.
      file: (path, message if it is missing) of another task's file that it reads, or None.
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
        """Whether all results exist. Never without `results`: the pipeline itself skips finished stages."""
        return bool(self.results) and all(path.exists() for path in self.results)


def folder_name(argument: str) -> str:
    """Returns 'mix-depth_depth-none' for 'mix=depth,depth=none'."""
    return argument.replace("=", "-").replace(",", "_")


def run_folder(root: pathlib.Path, argument: str, labels: int, seed: int) -> pathlib.Path:
    """Returns the workdir of one run."""
    return root / folder_name(argument_for(argument, labels)) / f"labels{labels}_seed{seed}"


def selection_folder(root: pathlib.Path, method: str, seed: int) -> pathlib.Path:
    """Returns the workdir of a data selection."""
    return root / "selections" / method / f"seed{seed}"


def network_folder(root: pathlib.Path, argument: str) -> pathlib.Path:
    """Returns the workdir of a depth network that rows share."""
    return root / "depth_networks" / folder_name(argument)


def parse(argument: str) -> dict:
    """Returns the values of a row's argument."""
    from sdeseg_jax.configs.common import parse_arguments  # imports JAX, which --help does without

    defaults = {"mix": "depth", "depth": "feature_distance", "multitask": False, "frames": 1.0, "selection": "by_seed"}
    trained = {"steps": 0, "disparity": "auto", "depth_weight": 1.0}
    return parse_arguments(argument, **defaults, **trained, source=False, cross="none", matching="false")


def row_config(config: str, argument: str):
    """Returns the config of a row.

    Raises:
      UserError: the config file does not exist, or does not know an argument of the row.
    """
    file, _, given = config.partition(":")
    get_config = runpy.run_path(find_config(config).partition(":")[0]).get("get_config")
    if get_config is None:
        raise UserError(f"--config={file} is not a config file: it does not define get_config")
    return get_config(",".join(filter(None, (given, argument))))


def selection_methods(table: Table) -> list[str]:
    """Returns the methods of `select_labels` that the rows need."""
    methods = (parse(row.argument)["selection"] for row in table.rows)
    return list(dict.fromkeys(method for method in methods if method != "by_seed"))


def depth_arguments(config: str, argument: str) -> str | None:
    """Returns the part of a row's argument that its depth network depends on; None if it has no depth network."""
    values = parse(argument)
    if "pretrain_depth" not in row_config(config, without_selection(argument)).pipeline.stages:
        return None
    # Without transfer, DepthMix still needs the depth network.
    depth = {"none": "transfer"}.get(values["depth"], values["depth"])
    return f"depth={depth}" + (f",frames={values['frames']:g}" if values["frames"] != 1 else "")


def own_stages(config: str, argument: str) -> tuple[str, ...]:
    """Returns the stages of a row's run that it does not share: no depth network, disparity or selection."""
    stages = row_config(config, without_selection(argument)).pipeline.stages
    return tuple(stage for stage in stages if stage in ("estimate_source_depth", "train", "evaluate"))


def check_config(part: Part) -> None:
    """Raises UserError if a config cannot run a table; the message has the reason and the configs that can."""
    row_config(part.config, "")  # its errors do not depend on the table
    if problem := _misfit(TABLES[part.table], part.config):
        fitting = ", ".join(
            path.stem for path in config_files(FOLDER) if _misfit(TABLES[part.table], path.stem) is None
        )
        raise UserError(
            f"--table={part.table} cannot run with --config={part.config}: {problem}. Configs that can: {fitting}"
        )


def _misfit(table: Table, config: str) -> str | None:
    """Returns why a config cannot run a table: an unknown argument, or a source domain that no row uses; else None."""
    for row in rows_for(table, config):
        try:
            found = row_config(config, f"{row.argument},labels=1,seed=0")
        except UserError as error:
            return f"row '{row.name}': {error}"
        if found.source.name and "source=" not in row.argument:
            return "the table has a single domain, but the config has a source domain"
    return None


def check_overrides(overrides: Iterable[str]) -> None:
    """Raises UserError that lists all arguments like --config.section.key=value whose setting does not exist."""
    if problems := unknown_keys(one.removeprefix("--config.").partition("=")[0] for one in overrides):
        raise UserError("\n  ".join(map(str, problems)))


def check_schedule(part: Part, overrides: Sequence[str]) -> None:
    """Raises ValueError if a column is not in the selection schedule."""
    columns = [n for n in part.labels if n]
    given = any(one.startswith("--config.selection.schedule") for one in overrides)
    if given or not columns or not selection_methods(TABLES[part.table]):
        return
    schedule = row_config(part.config, f"selection=diversity,labels={max(columns)}").selection.schedule
    if wrong := [n for n in columns if n not in schedule]:
        raise ValueError(f"--labels: {wrong[0]} is not in config.selection.schedule, {tuple(schedule)}")


def plan(
    parts: Sequence[Part],
    seeds: Sequence[int],
    root_of: Callable[[str], pathlib.Path],
    overrides: Sequence[str],
    network_seed: int | None = None,
) -> list[Task]:
    """Returns all tasks of some tables in the order to run them: seed by seed, each run once.

    Depth networks and selections (up to the largest number of labels) come before the first table that needs them.

    Args:
      parts: tables.
      seeds: of labels, weights and data order.
      root_of: config -> folder of its runs.
      overrides: settings of all runs.
      network_seed: of the depth networks, which all seeds share; default: the first of `seeds`.
    """
    network_seed = seeds[0] if network_seed is None else network_seed
    tasks: dict[pathlib.Path, Task] = {}

    def add(found: Iterable[Task]) -> None:
        for task in found:
            tasks.setdefault(task.workdir, task)

    # A selection goes up to the most labels that a table of the config needs; other tables use its first part.
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
    """Returns the numbers of labels that a table needs from a selection."""
    return [n for n in part.labels if n] if method in selection_methods(TABLES[part.table]) else []


def _shared(network: pathlib.Path) -> tuple[str, str]:
    """Returns the settings of a run that uses a shared depth network and its disparity."""
    return f"--config.depth.workdir={network}", f"--config.estimate.workdir={network}"


def _networks(part: Part, seed: int, root: pathlib.Path, overrides: Sequence[str]) -> Iterator[Task]:
    table, config = TABLES[part.table], part.config
    rows = rows_for(table, config)
    of_selection = f"depth={selection_depth(config)}" if selection_methods(table) else None
    networks = dict.fromkeys([of_selection, *(depth_arguments(config, row.argument) for row in rows)])
    for argument in filter(None, networks):
        own = f"--config.pipeline.stages={NETWORK_STAGES!r}"
        yield Task(argument, config, f"{argument},seed={seed}", network_folder(root, argument), (own, *overrides))
    if any("estimate_source_depth" in own_stages(config, row.argument) for row in rows):
        own = "--config.pipeline.stages=('pretrain_source_depth', 'estimate_source_depth')"
        yield Task(SOURCE_DEPTH, config, f"seed={seed}", network_folder(root, SOURCE_DEPTH), (own, *overrides))


def _up_to(most: int, overrides: Sequence[str]) -> Iterator[str]:
    """Yields settings with the selection schedule cut off after `most` labels."""
    for one in overrides:
        key, _, value = one.partition("=")
        if key == "--config.selection.schedule":
            one = f"{key}={tuple(n for n in ast.literal_eval(value) if n <= most)!r}"
        yield one


def _selection(
    config: str, method: str, seed: int, root: pathlib.Path, overrides: Sequence[str], numbers: Sequence[int]
) -> Task:
    network, folder = network_folder(root, f"depth={selection_depth(config)}"), selection_folder(root, method, seed)
    own, most = ("--config.pipeline.stages=('select_labels',)", *_shared(network)), max(numbers)
    return Task(
        f"selection: {method}, seed {seed}",
        config,
        argument=f"selection={method},labels={most},seed={seed}",
        workdir=folder,
        overrides=(*own, *_up_to(most, overrides)),
        needs=(network,),
        results=tuple(folder / "selection" / f"{n}.json" for n in numbers),
    )


def _run(config: str, row: Row, n: int, seed: int, root: pathlib.Path, overrides: Sequence[str]) -> Task:
    argument = argument_for(row.argument, n)
    stages, network = own_stages(config, argument), depth_arguments(config, argument)
    method, needs, file = parse(argument)["selection"], [], None
    workdir = run_folder(root, argument, n, seed)
    own = [f"--config.pipeline.stages={stages!r}"]
    if network:
        own += [*_shared(network_folder(root, network)), "--config.evaluation.depth=False"]
        needs.append(network_folder(root, network))
    if "estimate_source_depth" in stages:
        own.append(f"--config.source.workdir={network_folder(root, SOURCE_DEPTH)}")
        needs.append(network_folder(root, SOURCE_DEPTH))
    if method != "by_seed":
        file = selection_folder(root, method, seed) / "selection" / f"{n}.json", f"no selection of {n}"
        own.append(f"--config.data.labels_file={file[0]}")
        needs.append(selection_folder(root, method, seed))
    return Task(
        f"{row.name}, {n} labels, seed {seed}",
        config,
        argument=f"{without_selection(argument)},labels={n},seed={seed}",
        workdir=workdir,
        overrides=(*own, *overrides),
        needs=tuple(needs),
        results=(workdir / "metrics.json",),
        file=file,
    )
