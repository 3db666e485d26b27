"""Pictures of a data selection (Sec. 3.2): contact sheet, criterion, feature space, class frequencies (Fig. 7)."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw

from sdeseg_jax.report.svg_charts import CHART_STYLE, COLORS

THUMBNAIL = 160
"""Width of a frame on the contact sheet, pixels."""

CAPTION = 14
"""Height of the caption below it, pixels."""


@contextlib.contextmanager
def _figure(path: pathlib.Path, size: tuple[float, float]) -> Iterator[Figure]:
    """Yields a figure and saves it as PNG afterwards."""
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        figure.savefig(path, format="png", dpi=130)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrinks an image uint8 [H, W, 3] to its size on the contact sheet."""
    size = (THUMBNAIL, max(1, round(THUMBNAIL * image.shape[0] / image.shape[1])))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def contact_sheet(thumbnails: Sequence[np.ndarray], captions: Sequence[str]) -> Image.Image:
    """Draws thumbnails of one size, row by row in the order given, each with its caption (cut off if too long)."""
    size = thumbnails[0].shape[1::-1]
    columns = max(1, round((len(thumbnails) * 1.5 * (size[1] + CAPTION) / size[0]) ** 0.5))
    rows, cell = -(-len(thumbnails) // columns), (size[0] + 4, size[1] + CAPTION + 4)
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (image, caption) in enumerate(zip(thumbnails, captions, strict=True)):
        left, top = number % columns * cell[0] + 2, number // columns * cell[1] + 2
        sheet.paste(Image.fromarray(image), (left, top))
        while caption and draw.textlength(caption) > size[0]:
            caption = caption[:-1]
        draw.text((left, top + size[1] + 1), caption, fill="black")
    return sheet


def draw_criterion(path: pathlib.Path, picks: Sequence[Mapping], what: str) -> None:
    """Draws the criterion and its two terms against rank, with a dashed line at the end of each schedule step.

    Args:
      path: of the PNG.
      picks: as in `<n>.json`.
      what: legend entry of the uncertainty.
    """
    with _figure(path, (5.2, 3.4)) as figure:
        axes = figure.add_subplot()
        names = {"criterion": "criterion", "diversity": "distance to the nearest annotated", "uncertainty": what}
        for color, (key, name) in zip(COLORS, names.items(), strict=False):
            points = [(rank, pick[key]) for rank, pick in enumerate(picks, 1) if pick[key] is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, linewidth=1.3, marker=".", markersize=4, label=name)
        for size in sorted({pick["step"] for pick in picks})[:-1]:
            axes.axvline(size + 0.5, color="#888888", linewidth=0.8, linestyle="--")
        axes.set(title="Criterion of the chosen frames", xlabel="rank")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        figure.legend(loc="outside lower left", ncols=2)


def draw_feature_space(path: pathlib.Path, points: np.ndarray, existing: np.ndarray, chosen: np.ndarray) -> None:
    """Draws the chosen frames among all frames.

    Args:
      path: of the PNG.
      points: [N, 2], two principal components of the features.
      existing, chosen: indices of the frames annotated before, and of the chosen ones in the order of choice.
    """
    with _figure(path, (5.6, 5)) as figure:
        axes = figure.add_subplot()
        axes.scatter(*points.T, s=6, color="#c3c9d1", linewidths=0, label=f"all {len(points)} frames")
        if len(existing):
            before = f"{len(existing)} annotated before"
            axes.scatter(*points[existing].T, s=22, color=COLORS[2], marker="s", label=before)
        order = np.arange(1, len(chosen) + 1)
        marks = axes.scatter(*points[chosen].T, s=26, c=order, cmap="plasma", edgecolors="white", linewidths=0.4)
        figure.colorbar(marks, label="order of choice")
        axes.set(title=f"{len(chosen)} chosen frames in feature space", xlabel="first principal component")
        axes.set_ylabel("second")
        figure.legend(loc="outside lower left", ncols=2)


def draw_class_frequency(path: pathlib.Path, names: Sequence[str], ratios: Mapping[str, np.ndarray]) -> None:
    """Draws the share of each class in the chosen frames, relative to its mean share in random selections.

    Args:
      path: of the PNG.
      names: of the classes.
      ratios: from `selection.class_frequency.frequency_ratios`.
    """
    kept = np.flatnonzero(np.isfinite(ratios["ratio"]))
    with _figure(path, (5.2, 1.2 + 0.24 * len(kept))) as figure:
        axes = figure.add_subplot()
        rows, values = np.arange(len(kept)), ratios["ratio"][kept]
        colors = [COLORS[0] if value >= 1 else "#9db8d6" for value in values]
        axes.barh(rows, values - 1, left=1, color=colors, height=0.7)
        deviation, style = ratios["ratio_deviation"][kept], {"ecolor": "#444444", "capsize": 2, "linewidth": 1}
        label = "random: mean ± standard deviation"
        axes.errorbar(np.ones(len(kept)), rows, xerr=deviation, fmt="none", label=label, **style)
        axes.axvline(1, color="#444444", linewidth=0.8)
        axes.set_yticks(rows, [f"{names[i]} ({ratios['random_share'][i]:.2%})" for i in kept])
        axes.set_ylim(len(kept) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set(title="Class frequency, relative to random choice")
        figure.legend(loc="outside lower left")
