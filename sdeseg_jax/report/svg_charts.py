"""Curves and bars as inline SVG, and the metrics files they are drawn from."""

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
"""Line styles that go with the colours, for colour-blind readers and black-and-white prints."""

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
"""A chart whose values span more than this factor has a logarithmic axis."""

Points = Sequence[tuple[int, float]]
"""(step, value), in order."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """Curves over training steps.

    Attributes:
      curves: legend entry -> points.
      bound: value and legend entry of a dashed line, or None.
      limits: of the vertical axis, or None.
    """

    title: str
    curves: Mapping[str, Points]
    bound: tuple[float, str] | None = None
    limits: tuple[float, float] | None = None


def read_metrics(path: str | pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Reads `metrics.jsonl`: name -> [(step, value)], without values that are not finite.

    Skips lines that cannot be read, e.g. a last one that was cut off; a missing file gives no metrics.
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
    """Returns the metrics whose names begin with a prefix, under their names without it."""
    return {name.removeprefix(prefix): points for name, points in metrics.items() if name.startswith(prefix)}


def loss_curves(metrics: Mapping[str, Points]) -> dict[str, Points]:
    """Returns the loss terms, and the total if there are several."""
    curves = with_prefix(metrics, "loss/")
    if len(curves) == 2 and "total" in curves:
        del curves["total"]
    return {name.replace("_", " "): points for name, points in curves.items()}


def draw_chart(chart: Chart) -> Html:
    """Draws curves; fewer than three points are marked by dots."""
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
    """Draws horizontal bars, one group of bars per class.

    Args:
      names: of the classes, from top to bottom.
      groups: legend entry -> a value per class, or None.
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
    """Returns how many legend entries fit side by side into `width` inches; a letter is 0.07 inches wide at most."""
    return max(1, min(len(entries), int(width / (0.6 + 0.07 * max(map(len, entries), default=0)))))


def to_svg(figure: Figure, title: str) -> Html:
    """Returns a figure as inline SVG.

    Args:
      figure: to draw.
      title: alternative text. Unique on the page, because the ids inside the figure begin with it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    # Inline SVG needs no XML head, namespaces or metadata, and these are full of URLs.
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    label = re.sub(r"[^\w %.,:-]", "", title)
    text = _prefix_ids(text, re.sub(r"\W+", "-", title.lower()))
    return Html(text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))


_REFERENCE = r'(?:url\(|href=")#([\w-]+)'


def _prefix_ids(svg: str, prefix: str) -> str:
    """Prefixes the ids that the figure itself refers to (clip paths mostly), and removes all others.

    Matplotlib uses the same ids in every figure, and in a page all references would resolve to the first of them.
    """
    used = set(re.findall(_REFERENCE, svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "", svg)
    return re.sub(_REFERENCE, lambda found: found[0].replace("#", f"#{prefix}-"), svg)
