"""Records of finished runs and clips, as stored in `results/*.json`."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping

from sdeseg_jax.report.measured_results.tables_over_seeds import Run, scored_classes

Key = tuple[str, str, int, int]
"""Identifies a run: config (with its arguments), argument of the row, number of labels, seed."""


@dataclasses.dataclass(frozen=True)
class Record:
    """A finished run.

    Attributes:
      run: its scores.
      minutes: its duration.
      device: number and name of the devices.
      commit: of the code.
      date: on which it ended, YYYY-MM-DD.
    """

    run: Run
    minutes: float
    device: str
    commit: str
    date: str


@dataclasses.dataclass(frozen=True)
class Clip:
    """Self-supervised depth of a real clip.

    Attributes:
      frames: which and how many, in words.
      scores: by name.
      panels: image file, relative to the page.
      config: config file with its arguments.
      minutes, device, commit, date: see `Record`.
    """

    name: str
    frames: str
    scores: Mapping[str, float]
    panels: str
    config: str
    command: str
    minutes: float
    device: str
    commit: str
    date: str


def read_records(path: pathlib.Path) -> tuple[str, dict[Key, Record]]:
    """Reads `results/<experiment>.json`: the experiment's command and its runs; ("", {}) if it does not exist.

    Raises:
      ValueError: it is damaged, belongs to another experiment, or contains a run twice.
    """
    if not path.exists():
        return "", {}
    content, records = _read_json(path), {}
    try:
        experiment, command, runs = content["experiment"], content["command"], list(content["runs"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} must contain experiment, command, runs: {error!r}") from error
    if experiment != path.stem:
        raise ValueError(f"{path} belongs to the experiment '{experiment}': rename it to {experiment}.json")
    for number, entry in enumerate(runs, 1):
        try:
            key = (entry["config"], entry["argument"], int(entry["labels"]), int(entry["seed"]))
            run = Run(_finite(entry["miou"]), entry["protocol"], entry["depth"], scored_classes(entry.get("iou")))
            rest = [entry[name] for name in ("device", "commit", "date")]
            record = Record(run, _finite(entry["minutes"]), *rest)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, run {number} is damaged: {error!r}") from error
        if key in records:
            raise ValueError(f"{path}, run {number} is a duplicate: delete one of the two records of {key}")
        records[key] = record
    return command, records


def read_clips(path: pathlib.Path) -> list[Clip]:
    """Reads `results/video.json`; [] if it does not exist.

    Raises:
      ValueError: it is damaged.
    """
    if not path.exists():
        return []
    content, clips = _read_json(path), []
    names = [field.name for field in dataclasses.fields(Clip)]
    try:
        for entry in content["clips"]:
            values = {name: entry[name] for name in names}
            values["scores"] = {name: _finite(score) for name, score in entry["scores"].items()}
            clips.append(Clip(**values | {"minutes": _finite(entry["minutes"])}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}, clip {len(clips) + 1} is damaged: {error!r}") from error
    return clips


def _read_json(path: pathlib.Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def _finite(value) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)
