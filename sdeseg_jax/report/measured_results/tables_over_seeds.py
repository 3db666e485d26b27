"""Tables of finished runs as Markdown and CSV: mean ± standard deviation over seeds of scores and differences."""

import csv
import dataclasses
import io
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence

from sdeseg_jax.config.suggestions import nearest


def without_selection(argument: str) -> str:
    """Returns a row's config argument without `selection=…`."""
    return ",".join(item for item in argument.split(",") if not item.startswith("selection="))


def argument_for(argument: str, labels: int) -> str:
    """Returns the argument of the run in a row's cell; with all labels (0), nothing is selected."""
    return argument if labels else without_selection(argument)


@dataclasses.dataclass(frozen=True)
class Run:
    """The scores of a finished run.

    Attributes:
      miou: of the method, percent.
      protocol: classes and inference of its evaluation.
      depth: scores of its depth network, by name; may be empty.
      classes: number of classes that `miou` is the mean over; None if unknown.
    """

    miou: float
    protocol: str
    depth: Mapping[str, float]
    classes: int | None = None


def read_run(workdir: pathlib.Path) -> Run | None:
    """Reads a workdir's `metrics.json`; returns None unless its training was finished and scored.

    Raises:
      ValueError: the file is damaged.
    """
    path = workdir / "metrics.json"
    if not path.exists():
        return None
    try:
        metrics = json.loads(path.read_text())
        method = metrics.get("method")
        if method is None or method["miou"] is None:
            return None
        protocol = ", ".join(filter(None, (method["protocol"], method.get("inference"))))
        return Run(float(method["miou"]), protocol, metrics.get("depth", {}), scored_classes(method.get("iou")))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error!r}; write it again with --job=evaluate") from error


@dataclasses.dataclass(frozen=True)
class Cell:
    """One method with one number of labels.

    Attributes:
      scores: mIoU for each planned seed, percent; None if its run is not finished.
      depth: depth scores by name, averaged over the seeds.
    """

    scores: tuple[float | None, ...]
    depth: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def finished(self) -> list[float]:
        """Scores of the finished runs."""
        return [score for score in self.scores if score is not None]

    @property
    def mean(self) -> float | None:
        """Mean mIoU over finished seeds; None without any."""
        return statistics.fmean(self.finished) if self.finished else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over finished seeds; None with fewer than two."""
        return _deviation(self.finished)

    def difference(self, other: "Cell") -> tuple[float | None, float | None]:
        """Returns mean and sample standard deviation of the differences to another cell, over the seeds of both.

        A seed chooses the labelled frames of both, and some frames teach more than others: whether one method is
        better follows from the deviation of the differences, not of the scores.
        """
        pairs = zip(self.scores, other.scores, strict=True)
        differences = [own - others for own, others in pairs if own is not None and others is not None]
        return statistics.fmean(differences) if differences else None, _deviation(differences)


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def make_cell(runs: Sequence[Run | None], depth_metrics: Sequence[str] = ()) -> Cell:
    """Summarises the runs of all seeds, None for missing ones.

    Raises:
      ValueError: they were scored by different protocols.
    """
    done = [run for run in runs if run]
    check_protocols(done)
    depth = {
        name: statistics.fmean(run.depth[name] for run in done)
        for name in depth_metrics
        if done and all(name in run.depth for run in done)
    }
    return Cell(tuple(run and run.miou for run in runs), depth)


def scored_classes(iou: Mapping[str, float | None] | None) -> int | None:
    """Returns over how many classes the mean of these IoUs is; None if they were not stored."""
    return sum(value is not None for value in iou.values()) if iou else None


def means_over(runs: Sequence[Run]) -> str:
    """Returns over how many classes the mIoUs of runs are means, as the end of a sentence; "" if unknown."""
    found = sorted({run.classes for run in runs if run.classes})
    if not found:
        return ""
    return f"; means over {found[0]} classes" if len(found) == 1 else f"; means over {found[0]} to {found[-1]} classes"


def check_protocols(runs: Sequence[Run]) -> str:
    """Returns the protocol by which all runs were scored; "" without any.

    Raises:
      ValueError: there are several; 19- and 16-class mIoU must not share a table.
    """
    protocols = sorted({run.protocol for run in runs})
    if len(protocols) > 1:
        raise ValueError(f"runs of one table were scored by different protocols: {'; '.join(protocols)}")
    return protocols[0] if protocols else ""


Cells = Mapping[tuple[str, int], Cell]
"""(row name, number of labels) -> cell."""


Reference = Mapping[tuple[str, int], float]
"""(row name, number of labels) -> mIoU published elsewhere, e.g. in the paper."""


def read_reference(path: pathlib.Path, name: str, rows: Sequence[str]) -> Reference:
    """Reads scores to compare with from a CSV with the columns `row`, `labels`, `miou_mean`, e.g. of `to_csv`.

    Args:
      path: the file. Lines of another `table`, if it has that column, are skipped.
      name: of the table.
      rows: names of its rows.

    Raises:
      ValueError: it cannot be read, or a column is missing, a row unknown, or a value not a number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if missing := [column for column in ("row", "labels", "miou_mean") if lines and column not in lines[0]]:
        raise ValueError(f"{path}: column {missing[0]} is missing; the first line must name row, labels, miou_mean")
    scores = {}
    for number, line in enumerate(lines, 2):
        if line.get("table") not in (None, "", name) or not line["miou_mean"]:
            continue
        if line["row"] not in rows:
            raise ValueError(
                f"{path}, line {number}: unknown row of {name}: '{line['row']}'{nearest(line['row'], rows)}"
            )
        try:
            scores[line["row"], int(line["labels"])] = float(line["miou_mean"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: labels and miou_mean must be numbers") from error
    return scores


def signed(difference: float) -> str:
    """Formats a difference of mIoU, percentage points."""
    return f"{round(difference, 1) + 0.0:+.1f}"  # no negative zero


def with_deviation(mean: str, deviation: float | None) -> str:
    """Returns 'mean ± deviation', or the mean alone without a deviation."""
    return mean if deviation is None else f"{mean} ± {deviation:.1f}"


def _text(cell: Cell, first: Cell, reference: float | None) -> str:
    beside = "" if reference is None else f"; reference {reference:.1f}"
    if cell.mean is None:
        return "–" + beside
    text = with_deviation(f"{cell.mean:.1f}", cell.deviation)
    difference, deviation = cell.difference(first)
    if cell is not first and difference is not None:
        text += f" ({with_deviation(signed(difference), deviation)})"
    if len(cell.finished) < len(cell.scores):
        text += f" [{len(cell.finished)} of {len(cell.scores)} seeds]"
    return text + beside


def to_markdown(
    title: str,
    rows: Sequence[str],
    labels: Sequence[int],
    cells: Cells,
    protocol: str,
    depth: Sequence[str] = (),
    reference: Reference | None = None,
) -> str:
    """Writes a table as Markdown: mIoU in percent, mean ± standard deviation over seeds.

    In brackets: mean ± standard deviation of the difference to the first row, seed by seed.
    """
    reference = reference or {}
    header = ["mIoU [%]", *(f"{n} labels" if n else "all labels" for n in labels), *depth]
    lines = [f"### {title}", "", markdown_row(header), markdown_row(["---"] * len(header))]
    for row in rows:
        scores = [_text(cells[row, n], cells[rows[0], n], reference.get((row, n))) for n in labels]
        found = cells[row, labels[0]].depth
        scores += [f"{found[name]:.3f}" if name in found else "–" for name in depth]
        lines.append(markdown_row([row, *scores]))
    seeds = max(len(cell.scores) for cell in cells.values())
    several = f"{seeds} seeds: mean ± standard deviation (and those of the difference to the first row, seed by seed)."
    lines += ["", several if seeds > 1 else "1 seed (difference to the first row)."]
    return "\n".join([*lines, f"Protocol: {protocol or 'no run is finished'}.", ""])


def markdown_row(entries: Sequence[str]) -> str:
    """Returns a line of a Markdown table."""
    return f"| {' | '.join(entries)} |"


FIELDS = ("table", "row", "labels", "seeds", "miou_mean", "miou_std", "difference", "difference_std", "protocol")
"""Columns of the CSV, before those of the depth metrics."""


def to_csv(name: str, rows: Sequence[str], labels: Sequence[int], cells: Cells, protocol: str, depth=()) -> str:
    """Writes a table as CSV: a line per row and number of labels; cells without a finished run are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*FIELDS, *depth])

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    for row in rows:
        for n in labels:
            cell, first = cells[row, n], cells[rows[0], n]
            scores = [number(value) for value in (cell.mean, cell.deviation, *cell.difference(first))]
            writer.writerow(
                [name, row, n, len(cell.finished), *scores, protocol, *(number(cell.depth.get(key)) for key in depth)]
            )
    return out.getvalue()
