"""Records of finished runs: one JSON file per experiment, one run per line."""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable, Iterable, Sequence

from sdeseg_jax.commands.reproduction.plan import depth_arguments, network_folder, run_folder
from sdeseg_jax.configs.experiments import Part
from sdeseg_jax.configs.tables import TABLES, rows_for
from sdeseg_jax.report.measured_results.tables_over_seeds import Run, argument_for, read_run
from sdeseg_jax.storage.atomic_files import atomic_write

KEY = ("config", "argument", "labels", "seed")
"""Fields that identify a run."""

SCORES = ("miou", "iou", "protocol", "depth")


def read_json(path: pathlib.Path):
    """Returns the content of a JSON file; raises ValueError with the file's name if it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def read_row(root: pathlib.Path, config: str, argument: str, labels: int, seed: int) -> Run | None:
    """Returns a finished run with the scores of the depth network that rows share; None if it is not finished.

    Raises:
      ValueError: one of its files is damaged.
    """
    run, network = read_run(run_folder(root, argument, labels, seed)), depth_arguments(config, argument)
    if run is None or run.depth or network is None:
        return run
    path = network_folder(root, network) / "metrics.json"
    return dataclasses.replace(run, depth=read_json(path).get("depth", {}) if path.exists() else {})


def record(root: pathlib.Path, config: str, argument: str, labels: int, seed: int) -> dict | None:
    """Returns the record of a run; None if it is not finished.

    Raises:
      ValueError: one of its files is damaged.
    """
    run, workdir = read_row(root, config, argument, labels, seed), run_folder(root, argument, labels, seed)
    if run is None:
        return None
    iou = read_json(workdir / "metrics.json")["method"].get("iou", {})
    stages = {path.parent.name: read_json(path) for path in sorted(workdir.glob("*/stage.json"))}
    trained, commit = workdir / "segmentation" / "stage.json", workdir / "commit.txt"
    date = datetime.date.fromtimestamp((trained if trained.exists() else workdir / "metrics.json").stat().st_mtime)
    return {
        **dict(zip(KEY, (config, argument, labels, seed), strict=True)),
        "miou": round(run.miou, 3),
        "protocol": run.protocol,
        "iou": {name: None if value is None else round(value, 2) for name, value in iou.items()},
        "depth": {name: round(run.depth[name], 4) for name in ("abs_rel", "rmse", "a1") if name in run.depth},
        "minutes": round(sum(stage.get("seconds", 0.0) for stage in stages.values()) / 60, 2),
        "device": stages.get("segmentation", {}).get("devices", "unknown"),
        "commit": commit.read_text().strip() if commit.exists() else "unknown",
        "date": date.isoformat(),
    }


def collect(
    parts: Iterable[Part], seeds: Sequence[int], root_of: Callable[[str], pathlib.Path], known: Iterable[dict] = ()
) -> list[dict]:
    """Returns the records of all finished runs of an experiment, each once, in the order of its tables.

    Args:
      parts: of the experiment.
      seeds: of its runs.
      root_of: config -> folder of its runs.
      known: earlier records, of runs here or elsewhere. They are kept unless the run is here with other scores, since
        it was run or scored again.

    Raises:
      ValueError: a run's file is damaged.
    """
    found = {tuple(one[name] for name in KEY): one for one in known}
    order: dict[tuple, None] = {}
    for part in parts:
        for row in rows_for(TABLES[part.table], part.config):
            for labels in part.labels:
                for seed in seeds:
                    key = (part.config, argument_for(row.argument, labels), labels, seed)
                    order[key] = None
                    one = record(root_of(part.config), *key)
                    if one and any(found.get(key, {}).get(name) != one[name] for name in SCORES):
                        found[key] = one
    return [found[key] for key in order if key in found]


def write(path: pathlib.Path, content: dict, runs: Sequence[dict]) -> None:
    """Writes an experiment's file: fields common to all runs, then one run per line."""
    lines = ",\n".join("  " + json.dumps(one) for one in runs)
    head = json.dumps(content, indent=1)[:-2]  # without its closing brace
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, f'{head},\n "runs": [\n{lines}\n ]\n}}\n')


def read(path: pathlib.Path, settings: Sequence[str]) -> list[dict]:
    """Returns the runs of a file of `write`; [] if it does not exist.

    Args:
      path: of the file.
      settings: expected settings of the runs.

    Raises:
      ValueError: the file is damaged, or its runs have other settings.
    """
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text())
        runs, their_settings = content["runs"], content["settings"]
        if wrong := [one for one in runs if not {*KEY, *SCORES} <= one.keys()]:
            raise KeyError(f"a run without {min({*KEY, *SCORES} - wrong[0].keys())}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}. Restore it, e.g. from git") from error
    check_settings(path, their_settings, settings)
    return runs


def check_settings(path: pathlib.Path, theirs: Sequence[str], ours: Sequence[str]) -> None:
    """Raises ValueError if a file's runs have other settings than ours."""
    if different := sorted({*theirs} ^ {*ours}):
        raise ValueError(
            f"{path}: its runs have other settings ({', '.join(different)}); one table must not mix them. "
            "For a trial, choose another --root and another --records"
        )
