"""Curves and bars as inline SVG, and the metrics files that they are drawn from."""

import dataclasses
import io
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sdeseg_jax.report.html_markup import Html

COLORS = ("#1f5fa8", "#d1662c", "#2b8a57", "#8a4fa3", "#8c6d31")
LINES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
"""Styles of lines that go with the colours: for eyes and printers that see none."""

CHART_STYLE = {
    "svg.fonttype": "none",  # text stays text: small, sharp, in the page's font
    "svg.hashsalt": "report",  # the same input gives the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8,
}
_CHART_WIDTH = 4.1
"""Inches."""

_LOG_RATIO = 20
"""Curves whose values differ by more than this factor share a logarithmic axis."""

Points = Sequence[tuple[int, float]]
"""(step, value), in order."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """Curves over training steps in one frame.

    Attributes:
      title: of the chart.
      curves: legend entry -> points.
      bound: value of a dashed line, and what it means, or None.
      limits: of the vertical axis, or None.
    """

    title: str
    curves: Mapping[str, Points]
    bound: tuple[float, str] | None = None
    limits: tuple[float, float] | None = None


def read_metrics(path: str | pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Reads `metrics.jsonl`: name -> [(step, value)], without values that are not finite.

    A file that is missing or ends in the middle of a line gives what can be read.
    """
    path, points = pathlib.Path(path), {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
            values = {name: float(value) for name, value in entry.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        for name, value in values.items():
            if math.isfinite(value):
                points.setdefault(name, []).append((step, value))
    return points


def with_prefix(metrics: Mapping[str, Points], prefix: str) -> dict[str, Points]:
    """Those metrics whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): points for name, points in metrics.items() if name.startswith(prefix)}


def loss_curves(metrics: Mapping[str, Points]) -> dict[str, Points]:
    """The loss terms; the total only where it is more than the one term."""
    curves = with_prefix(metrics, "loss/")
    if len(curves) == 2 and "total" in curves:
        del curves["total"]
    return {name.replace("_", " "): points for name, points in curves.items()}


def draw_chart(chart: Chart) -> Html:
    """Draws curves; a single point becomes a dot."""
    with matplotlib.rc_context(CHART_STYLE):
        entries = [*chart.curves, *([chart.bound[1]] if chart.bound else [])]
        columns = _legend_columns(entries, _CHART_WIDTH)
        rows = -(-len(entries) // columns) if len(entries) > 1 else 0
        figure = Figure(figsize=(_CHART_WIDTH, 2.4 + 0.19 * rows), layout="constrained")
        axes = figure.add_subplot()
        styles = zip(_cycle(COLORS, len(chart.curves)), _cycle(LINES, len(chart.curves)), strict=True)
        for (color, line), (name, points) in zip(styles, chart.curves.items(), strict=True):
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) < 3 else ""
            axes.plot(steps, values, color=color, linestyle=line, linewidth=1.4, marker=marker, label=name)
        values = [value for points in chart.curves.values() for _, value in points]
        if chart.limits:
            axes.set_ylim(*chart.limits)
        elif min(values) > 0 and max(values) > _LOG_RATIO * min(values):
            axes.set_yscale("log")
        else:
            axes.set_ylim(min(0.0, *values), 1.08 * max(*values, 1e-9))
        if chart.bound:
            axes.axhline(chart.bound[0], color="#b3261e", linewidth=1, linestyle=(0, (8, 4)), label=chart.bound[1])
        axes.set(title=chart.title, xlabel="step")
        axes.set_xlim(0, 1.03 * max(1, *(step for points in chart.curves.values() for step, _ in points)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if rows:  # below the frame, where it covers nothing
            figure.legend(loc="outside lower left", ncols=columns, handlelength=2.6)
        return to_svg(figure, chart.title)


def draw_class_bars(names: Sequence[str], groups: Mapping[str, Sequence[float | None]], unit: str) -> Html:
    """Horizontal bars, one group of bars per class.

    Args:
      names: of the classes, first on top.
      groups: legend entry -> a value per class, None for none.
      unit: of the values.
    """
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(5.0, 0.9 + 0.25 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        height = 0.78 / len(groups)
        for number, (color, (name, values)) in enumerate(zip(_cycle(COLORS, len(groups)), groups.items(), strict=True)):
            offset = (number - (len(groups) - 1) / 2) * height
            positions = [i + offset for i in range(len(names))]
            axes.barh(positions, [value or 0.0 for value in values], height, color=color, label=name)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(unit)
        figure.legend(loc="outside upper left", ncols=len(groups))
        return to_svg(figure, f"{unit} per class")


def _cycle(values: Sequence, count: int) -> list:
    return [values[i % len(values)] for i in range(count)]


def _legend_columns(entries: Sequence[str], width: float) -> int:
    """How many entries of a legend go side by side in so many inches; letters of its font are 0.07 wide at most."""
    return max(1, min(len(entries), int(width / (0.6 + 0.07 * max(map(len, entries), default=0)))))


def to_svg(figure: Figure, title: str) -> Html:
    """A figure as inline SVG.

    Args:
      figure: to draw.
      title: for readers that cannot see it. No two figures of a page may share one: the ids in it begin with it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    # In an HTML page an SVG needs neither its XML head nor namespaces nor metadata, which are full of addresses.
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    label = re.sub(r"[^\w %.,:-]", "", title)
    text = _own_ids(text, re.sub(r"\W+", "-", title.lower()))
    return Html(text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))


_REFERENCE = r'(?:url\(|href=")#([\w-]+)'


def _own_ids(svg: str, prefix: str) -> str:
    """Keeps ids that something in the figure refers to, clip paths mostly, under names that are its own.

    Matplotlib's are the same in every figure, and in a page the first of a name would count for all.
    """
    used = set(re.findall(_REFERENCE, svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "", svg)
    return re.sub(_REFERENCE, lambda found: found[0].replace("#", f"#{prefix}-"), svg)
