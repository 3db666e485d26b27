"""What is kept of finished runs: one JSON file per experiment, a run per line."""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable, Iterable, Sequence

from configs.experiments import Part
from configs.tables import TABLES, rows_for
from reproduction.plan import depth_arguments, network_folder, run_folder
from sdeseg_jax.report.results_page import argument_for
from sdeseg_jax.report.tables import Run, read_run

KEY = ("config", "argument", "labels", "seed")
"""Which run it is."""


def read_row(root: pathlib.Path, config: str, argument: str, labels: int, seed: int) -> Run | None:
    """A finished run, with the scores of the depth network that it shares with others; None if it is not finished.

    Raises:
      ValueError: a file of it is damaged.
    """
    run, network = read_run(run_folder(root, argument, labels, seed)), depth_arguments(config, argument)
    if run is None or run.depth or network is None:
        return run
    path = network_folder(root, network) / "metrics.json"
    return dataclasses.replace(run, depth=json.loads(path.read_text()).get("depth", {}) if path.exists() else {})


def record(root: pathlib.Path, config: str, argument: str, labels: int, seed: int) -> dict | None:
    """What is kept of a run; None if it is not finished.

    Raises:
      ValueError: a file of it is damaged.
    """
    run, workdir = read_row(root, config, argument, labels, seed), run_folder(root, argument, labels, seed)
    if run is None:
        return None
    metrics = json.loads((workdir / "metrics.json").read_text())
    stages = [json.loads(path.read_text()) for path in sorted(workdir.glob("*/stage.json"))]
    trained = workdir / "segmentation" / "stage.json"
    date = datetime.date.fromtimestamp((trained if trained.exists() else workdir / "metrics.json").stat().st_mtime)
    return {
        "config": config, "argument": argument, "labels": labels, "seed": seed,
        "miou": round(run.miou, 3), "protocol": run.protocol,
        "iou": {name: None if iou is None else round(iou, 2) for name, iou in metrics["method"].get("iou", {}).items()},
        "depth": {name: round(run.depth[name], 4) for name in ("abs_rel", "rmse", "a1") if name in run.depth},
        "minutes": round(sum(stage.get("seconds", 0.0) for stage in stages) / 60, 2),
        "device": next((stage["devices"] for stage in stages if "devices" in stage), "unknown"),
        "commit": _text(workdir / "commit.txt"), "date": date.isoformat(),
    }  # fmt: skip


def _text(path: pathlib.Path) -> str:
    return path.read_text().strip() if path.exists() else "unknown"


def collect(
    parts: Iterable[Part],
    seeds: Sequence[int],
    root_of: Callable[[str], pathlib.Path],
    known: Iterable[dict] = (),
) -> list[dict]:
    """Records of all finished runs of an experiment, each once, in the order of its tables.

    Args:
      parts: of the experiment.
      seeds: of its runs.
      root_of: config -> folder of its runs.
      known: records from before, of runs here or elsewhere; they are kept, but for those of runs that are here and
        have another score: these were run anew.

    Raises:
      ValueError: a file of a run is damaged.
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
                    if one and (key not in found or found[key]["miou"] != one["miou"]):
                        found[key] = one
    return [found[key] for key in order if key in found]


def write(path: pathlib.Path, content: dict, runs: Sequence[dict]) -> None:
    """Writes an experiment's file: what is true of all runs, then a run per line."""
    lines = ",\n".join("  " + json.dumps(one) for one in runs)
    head = json.dumps(content, indent=1)[:-2]  # without its closing brace
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head},\n "runs": [\n{lines}\n ]\n}}\n')


def read(path: pathlib.Path) -> list[dict]:
    """The runs of a file that `write` made; none if it is not there.

    Raises:
      ValueError: it is damaged.
    """
    if not path.exists():
        return []
    try:
        runs = json.loads(path.read_text())["runs"]
        return [one for one in runs if all(name in one for name in (*KEY, "miou"))]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of an experiment: {error!r}; git has the one from before") from error
