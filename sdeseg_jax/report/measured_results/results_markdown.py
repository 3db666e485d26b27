"""Fills the measured results into a text with placeholders: records of runs -> Markdown and learning curves.

A line that is a comment stands for a block:

    <!-- table: streets/ablation -->    a table of an experiment
    <!-- plot: streets/labels -->       its learning curves
    <!-- provenance: streets -->        command, settings, commits, dates, devices, time
    <!-- video -->                      depth of real clips: scores and pictures

Within sentences, a placeholder names a value of a table by row and number of labels (0: all):

    {{streets/ablation | SDE transfer | 16}}                         mean mIoU
    {{streets/ablation | SDE transfer | 16 | deviation}}             its sample standard deviation over seeds
    {{streets/ablation | SDE transfer | 16 | gain}}                  over the first row: mean ± deviation
    {{streets/ablation | DepthMix | 16 | gain over ClassMix}}        over another row
    {{streets/ablation | SDE transfer | 16 | seeds}}                 number of finished runs
    {{streets/depth | SDE on all frames | 16 | abs_rel}}             a score of the depth network, if the table has it
    {{video | KITTI odometry | photometric}}                         a score of a clip

Paragraphs and list items with values are wrapped again.
"""

import collections
import dataclasses
import re
import textwrap
from collections.abc import Mapping, Sequence

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.report.measured_results.label_curves import Curves, learning_curves
from sdeseg_jax.report.measured_results.result_records import Clip, Key, Record
from sdeseg_jax.report.measured_results.tables_over_seeds import (
    Cell,
    Cells,
    argument_for,
    check_protocols,
    make_cell,
    markdown_row,
    means_over,
    signed,
    to_markdown,
    with_deviation,
)


@dataclasses.dataclass(frozen=True)
class ResultsTable:
    """A table as an experiment runs it.

    Attributes:
      title: of the table.
      config: config file, arguments with it.
      rows: name -> config argument; the others are compared with the first.
      labels: numbers of labels; 0 for all.
      depth_metrics: keys of the depth scores to show.
    """

    title: str
    config: str
    rows: Mapping[str, str]
    labels: tuple[int, ...]
    depth_metrics: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Results:
    """An experiment and its measurements.

    Attributes:
      tables: by name.
      seeds: planned for each cell.
      overrides: settings of every run, as on the command line.
      command: that ran it; "" if it was not run.
      records: of finished runs.
    """

    tables: Mapping[str, ResultsTable]
    seeds: tuple[int, ...]
    overrides: tuple[str, ...] = ()
    command: str = ""
    records: Mapping[Key, Record] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Page:
    """The filled text.

    Attributes:
      text: Markdown.
      plots: file, relative to the page -> its curves.
    """

    text: str
    plots: Mapping[str, Curves]


def make_cells(results: Results, table: ResultsTable) -> tuple[str, Cells]:
    """Returns the protocol and the cells of a table.

    Raises:
      ValueError: its runs were scored by different protocols.
    """
    records = {
        (row, n): [results.records.get(key) for key in _keys(table, argument, n, results.seeds)]
        for row, argument in table.rows.items()
        for n in table.labels
    }
    runs = {key: [record and record.run for record in several] for key, several in records.items()}
    done = [run for several in runs.values() for run in several if run]
    return check_protocols(done) + means_over(done), {
        key: make_cell(several, table.depth_metrics) for key, several in runs.items()
    }


def _keys(table: ResultsTable, argument: str, labels: int, seeds: Sequence[int]) -> list[Key]:
    return [(table.config, argument_for(argument, labels), labels, seed) for seed in seeds]


def shown_records(results: Results) -> list[Record]:
    """Returns the runs that are in any table of the experiment, each once."""
    keys = {
        key: None
        for table in results.tables.values()
        for argument in table.rows.values()
        for n in table.labels
        for key in _keys(table, argument, n, results.seeds)
    }
    return [results.records[key] for key in keys if key in results.records]


_PLACEHOLDER = re.compile(r"^[ \t]*<!--[ \t]*(?P<block>.*?)[ \t]*-->[ \t]*$|\{\{(?P<value>[^{}]*)\}\}", re.MULTILINE)


def fill(text: str, experiments: Mapping[str, Results], clips: Sequence[Clip], name: str) -> Page:
    """Replaces the placeholders of a text (see the module) by measured values; "–" where there are none yet.

    Args:
      text: Markdown with placeholders.
      experiments: by name.
      clips: for `<!-- video -->`.
      name: of the text's file, for messages.

    Raises:
      ValueError: a placeholder is malformed or names something unknown, or runs of a table were scored by different
        protocols.
    """
    plots = {}

    def replace(found: re.Match) -> str:
        try:
            if found["value"] is not None:
                return _value(found["value"], experiments, clips) + _FILLED_IN
            return _block(found["block"], experiments, clips, plots)
        except ValueError as error:
            raise ValueError(f"{name}, line {_line_number(text, found.start())}: {error}") from error

    rest = _PLACEHOLDER.sub(lambda found: "\n" * found[0].count("\n"), text)
    if broken := re.search(r"\{\{|\}\}", rest):
        line = _line_number(rest, broken.start())
        raise ValueError(f"{name}, line {line}: unmatched {broken[0]}: write {{{{placeholder}}}}")
    return Page(_rewrapped(_PLACEHOLDER.sub(replace, text)), plots)


_FILLED_IN = "\0"  # follows a value: its paragraph must be wrapped again


def _rewrapped(text: str) -> str:
    pieces = re.split(r"(\n{2,}|\n(?=- |\Z))", text)  # paragraphs and list items, and their separators
    return "".join(_wrapped_item(piece) if _FILLED_IN in piece else piece for piece in pieces)


def _wrapped_item(text: str) -> str:
    return _wrapped(" ".join(text.replace(_FILLED_IN, "").split()), "  " if text.startswith("- ") else "")


def _line_number(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _look_up(options: Mapping, name: str, what: str):
    if name not in options:
        raise ValueError(f"unknown {what}: '{name}'{nearest(name, options)}")
    return options[name]


def _find_table(name: str, experiments: Mapping[str, Results]) -> tuple[Results, ResultsTable]:
    tables = {
        f"{experiment}/{table}": (results, results.tables[table])
        for experiment, results in experiments.items()
        for table in results.tables
    }
    return _look_up(tables, name, "table")


def _value(placeholder: str, experiments: Mapping[str, Results], clips: Sequence[Clip]) -> str:
    parts = [" ".join(part.split()) for part in placeholder.split("|")]
    if parts[0] == "video" and len(parts) == 3:
        clip = _look_up({clip.name: clip for clip in clips}, parts[1], "clip")
        return _number(_look_up(clip.scores, parts[2].replace(" ", "_"), f"score of {clip.name}"), 3)
    if len(parts) not in (3, 4):
        raise ValueError(f"{{{{{placeholder}}}}} must be table | row | labels, optionally followed by | value")
    results, table = _find_table(parts[0], experiments)
    _look_up(table.rows, parts[1], f"row of {parts[0]}")
    labels = _look_up({str(n): n for n in table.labels}, parts[2], f"number of labels of {parts[0]}")
    _, cells = make_cells(results, table)
    cell, what = cells[parts[1], labels], parts[3] if len(parts) == 4 else "mean"
    if what == "gain" or what.startswith("gain over "):
        other = what.removeprefix("gain over ") if what != "gain" else next(iter(table.rows))
        _look_up(table.rows, other, f"row of {parts[0]}")
        return _gain(cell, cells[other, labels])
    values = {
        "mean": _number(cell.mean, 1),
        "deviation": _number(cell.deviation, 1),
        "seeds": str(len(cell.finished)),
        **{name: _number(cell.depth.get(name), 3) for name in table.depth_metrics},
    }
    return _look_up(values, what, f"value of {parts[0]}")


def _gain(cell: Cell, other: Cell) -> str:
    difference, deviation = cell.difference(other)
    return "–" if difference is None else with_deviation(signed(difference), deviation)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _block(placeholder: str, experiments: Mapping[str, Results], clips: Sequence[Clip], plots: dict) -> str:
    kind, _, name = (part.strip() for part in placeholder.partition(":"))
    _look_up(dict.fromkeys(("table", "plot", "provenance", "video")), kind, "kind of placeholder")
    if kind == "video":
        return _video(clips)
    if kind == "provenance":
        return _provenance(_look_up(experiments, name, "experiment"))
    results, table = _find_table(name, experiments)
    protocol, cells = make_cells(results, table)
    if kind == "table":
        return to_markdown(table.title, list(table.rows), table.labels, cells, protocol, table.depth_metrics).strip()
    curves = learning_curves(list(table.rows), table.labels, cells)
    if not curves:
        return "No run of this plot is finished."
    file = f"results/{name.replace('/', '_')}.svg"
    plots[file] = curves
    return f"![Curves of this table: {table.title}]({file})"


def _provenance(results: Results) -> str:
    records = shown_records(results)
    if not records:
        return "No run is finished."
    blocks = ["Measured with", _code(results.command)]
    if results.overrides:
        blocks += ["which gives every run these settings:", "\n".join(f"    {one}" for one in results.overrides)]
    minutes = sum(record.minutes for record in records)
    runs = "1 run" if len(records) == 1 else f"{len(records)} runs"
    dates = _dates([record.date for record in records])
    facts = [f"{runs}, {_duration(minutes)} of training and scoring, without what they share, {dates}"]
    facts += [_counts(f"{name}s", [getattr(record, name) for record in records]) for name in ("device", "commit")]
    return "\n\n".join([*blocks, _wrapped("; ".join(facts) + ".")])


def _duration(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _dates(dates: Sequence[str]) -> str:
    first, last = min(dates), max(dates)
    return first if first == last else f"{first} to {last}"


def _counts(title: str, values: Sequence[str]) -> str:
    """Returns e.g. 'devices: A (12 runs), B (1 run)', or 'device: A' where all are equal."""
    counts = collections.Counter(values).most_common()
    if len(counts) == 1:
        return f"{title.removesuffix('s')}: {counts[0][0]}"
    return f"{title}: " + ", ".join(f"{value} ({n} run{'s' if n > 1 else ''})" for value, n in counts)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _code(command: str) -> str:
    """Returns a command as a code block; long ones are wrapped with a backslash."""
    lines = textwrap.wrap(command, 110, break_long_words=False, break_on_hyphens=False)
    return "    " + " \\\n      ".join(lines)


def _video(clips: Sequence[Clip]) -> str:
    if not clips:
        return "No clip is measured."
    scores = list(dict.fromkeys(name for clip in clips for name in clip.scores))
    rows = [["clip", *(clip.name for clip in clips)], ["---"] * (len(clips) + 1)]
    rows.append(["frames", *(clip.frames for clip in clips)])
    rows += [[name.replace("_", " "), *(_number(clip.scores.get(name), 3) for clip in clips)] for name in scores]
    blocks = ["\n".join(map(markdown_row, rows))]
    for clip in clips:
        picture = f"![Frames of {clip.name} and their depth]({clip.panels})"
        facts = [clip.config, _duration(clip.minutes), f"device: {clip.device}", f"commit: {clip.commit}", clip.date]
        blocks += [picture, _wrapped(f"{clip.name}: {'; '.join(facts)}."), _code(clip.command)]
    return "\n\n".join(blocks)
