"""Records of finished runs and clips, as `results/*.json` keeps them."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping

from sdeseg_jax.report.measured_results.tables_over_seeds import Run

Key = tuple[str, str, int, int]
"""Which run it is: config (arguments with it), argument of the row, number of labels, seed."""


@dataclasses.dataclass(frozen=True)
class Record:
    """A finished run.

    Attributes:
      run: its scores.
      minutes: that it took.
      device: number and name of the devices.
      commit: of the code.
      date: of its end, YYYY-MM-DD.
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
      name: of the clip.
      frames: which and how many, for people.
      scores: by name.
      panels: file of pictures, relative to the page.
      config: config file, arguments with it.
      command: that ran it.
      minutes, device, commit, date: as of a run.
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
    """Reads `results/<experiment>.json`: the command that ran it, and its runs; ("", {}) if there is no such file.

    Raises:
      ValueError: it is damaged, of another experiment, or has a run twice; the message names file and run.
    """
    if not path.exists():
        return "", {}
    content, records = _read_json(path), {}
    try:
        experiment, command, runs = content["experiment"], content["command"], list(content["runs"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: should have experiment, command, runs: {error!r}") from error
    if experiment != path.stem:
        raise ValueError(f"{path}: is of the experiment '{experiment}'; its name should be {experiment}.json")
    for number, entry in enumerate(runs, 1):
        try:
            key = (entry["config"], entry["argument"], int(entry["labels"]), int(entry["seed"]))
            run = Run(_finite(entry["miou"]), entry["protocol"], entry["depth"])
            rest = [entry[name] for name in ("device", "commit", "date")]
            record = Record(run, _finite(entry["minutes"]), *rest)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, run {number}: is no record of a run: {error!r}") from error
        if key in records:
            raise ValueError(f"{path}, run {number}: is there twice: {key}; delete one of the two")
        records[key] = record
    return command, records


def read_clips(path: pathlib.Path) -> list[Clip]:
    """Reads `results/video.json`; [] if there is no such file.

    Raises:
      ValueError: it is damaged; the message names file and clip.
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
        raise ValueError(f"{path}, clip {len(clips) + 1}: is no record of a clip: {error!r}") from error
    return clips


def _read_json(path: pathlib.Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is no JSON: {error}") from error


def _finite(value) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)
