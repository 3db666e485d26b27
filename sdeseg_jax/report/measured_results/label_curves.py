"""Learning curves: mIoU over the number of labels, a line per method, as an SVG file for a Markdown page."""

import dataclasses
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from sdeseg_jax.report.measured_results.tables_over_seeds import Cells
from sdeseg_jax.report.svg_charts import CHART_STYLE, COLORS, LINES


@dataclasses.dataclass(frozen=True)
class Point:
    """A method with one number of labels.

    Attributes:
      labels: number of labels; 0 for all.
      mean: mIoU over the seeds, percent.
      deviation: sample standard deviation over the seeds, percent; None for a single one.
    """

    labels: int
    mean: float
    deviation: float | None


Curves = Mapping[str, Sequence[Point]]
"""Name of a method -> its points, by increasing number of labels."""


def learning_curves(rows: Sequence[str], labels: Sequence[int], cells: Cells) -> Curves:
    """Returns the curves of a table, without the points that have no finished run."""
    curves = {}
    for row in rows:
        found = [(n, cells[row, n]) for n in sorted(labels, key=lambda n: n or math.inf)]
        if points := [Point(n, cell.mean, cell.deviation) for n, cell in found if cell.mean is not None]:
            curves[row] = points
    return curves


def digest(curves: Curves) -> str:
    """Returns a hash of curves, to recognise their drawing: its bytes depend on the version of Matplotlib."""
    lines = [
        [name, *(f"{point.labels} {point.mean:.4f} {point.deviation or 0:.4f}" for point in points)]
        for name, points in curves.items()
    ]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


def drawn_digest(svg: str) -> str | None:
    """Returns the digest that `draw_learning_curves` wrote into a file; None if there is none."""
    found = re.search(r"<!-- curves: (\w+) -->", svg)
    return found and found[1]


def positions(labels: Sequence[int]) -> dict[int, float]:
    """Returns the positions of numbers of labels on a logarithmic axis.

    All labels (0) come last, as far from the largest number as that is from the one before it.
    """
    numbers = sorted(n for n in labels if n) or [1]
    ratio = numbers[-1] / numbers[-2] if len(numbers) > 1 else 2.0
    return {n: float(n) if n else numbers[-1] * ratio for n in labels}


def draw_learning_curves(curves: Curves) -> str:
    """Draws one or more curves with error bars of ± one standard deviation.

    Returns:
      The text of an SVG file, the same for the same curves; it contains their digest.
    """
    at = positions(sorted({point.labels for points in curves.values() for point in points}))
    ticks = sorted(at, key=at.get)
    step = (at[ticks[-1]] / at[ticks[0]]) ** (1 / (len(at) - 1)) if len(at) > 1 else 2.0
    with matplotlib.rc_context(CHART_STYLE):
        rows = -(-len(curves) // 2)
        figure = Figure(figsize=(7.4, 3.7 + 0.19 * rows), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        style = {"linewidth": 1.5, "marker": "o", "markersize": 3.5, "elinewidth": 1.0, "capsize": 2.5}
        for number, (name, points) in enumerate(curves.items()):
            shift = step ** (0.05 * (number - (len(curves) - 1) / 2))  # puts the bars of several methods side by side
            axes.errorbar(
                [at[point.labels] * shift for point in points],
                [point.mean for point in points],
                [math.nan if point.deviation is None else point.deviation for point in points],
                color=COLORS[number % len(COLORS)],
                linestyle=LINES[(number + number // len(COLORS)) % len(LINES)],  # the sixth differs from the first
                label=name,
                **style,
            )
        axes.set_xscale("log")
        axes.set_xticks([at[n] for n in ticks], [str(n) if n else "all" for n in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(at[ticks[0]] / step**0.4, at[ticks[-1]] * step**0.4)
        axes.set(xlabel="labelled images", ylabel="mIoU [%], mean ± standard deviation")
        figure.legend(loc="outside lower left", ncols=2, handlelength=3.4)
        buffer = io.StringIO()
        # Without metadata, which contains the date and the version of Matplotlib.
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
    return svg.replace("<svg", f"<!-- curves: {digest(curves)} -->\n<svg", 1)
