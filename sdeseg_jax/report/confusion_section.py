"""Confusion matrices of the networks, and their most frequent mistakes as a list that fits small screens."""

from collections.abc import Mapping

import numpy as np

from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.report.html_markup import Html, details, element, join, paragraph, table
from sdeseg_jax.report.scores_section import NETWORKS

MAX_CLASSES = 30
"""With more, a matrix would be unreadable, and only the list is shown."""

_RIGHT, _WRONG = (31, 95, 168), (190, 60, 20)
"""Colours of 100 % on and off the diagonal."""


def confusion_of(scores: Mapping, classes: ClassMap) -> np.ndarray | None:
    """Returns the counts int64 [C, C] of an evaluation, true classes in rows; None if they were not stored."""
    counts = np.asarray(scores.get("confusion") or (), np.int64)
    return counts if counts.shape == (len(classes),) * 2 else None


def in_percent(counts: np.ndarray) -> np.ndarray:
    """Converts counts [C, C] to percentages of each true class; NaN in rows of classes that do not occur."""
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, 100 * counts / np.maximum(total, 1), np.nan)


def confusion_section(metrics: Mapping, classes: ClassMap) -> Html:
    """Returns the confusion matrices of baseline and method, as far as they were stored.

    Args:
      metrics: of the stage `evaluate`; evaluations by old versions have no counts.
    """
    counts = {name: confusion_of(metrics[name], classes) for name in NETWORKS if name in metrics}
    kept = {name: one for name, one in counts.items() if one is not None}
    if not kept:
        return paragraph("This evaluation was made by a version that did not store it: run --job=evaluate to add it.")
    note = paragraph(
        "Rows are true classes, columns predicted ones: a cell holds the percentage of the true class's scored pixels "
        "that were predicted as the column's class. Correct pixels lie on the diagonal (blue), mistakes off it (red); "
        "cells below half a percent are blank. The last column is the class's share of all labelled pixels. Pixel "
        "counts are in evaluation/. In narrow windows the matrix scrolls sideways."
    )
    matrices = (_matrix(name, one, classes) for name, one in kept.items()) if len(classes) <= MAX_CLASSES else ()
    return join([note, element("div", *matrices, class_="matrices"), _most_frequent(kept, classes)])


def _matrix(name: str, counts: np.ndarray, classes: ClassMap) -> Html:
    percent, share = in_percent(counts), 100 * counts.sum(axis=1) / max(counts.sum(), 1)
    head = [element("th", element("span", text), scope="col") for text in (*classes.names, "share of pixels")]
    rows = [element("tr", element("th", "true \\ predicted", scope="col", class_="corner"), *head)]
    for i, label in enumerate(classes.names):
        if counts[i].any():
            cells = [_cell(value, i == j) for j, value in enumerate(percent[i])]
        else:
            cells = [element("td", "not in the labels", colspan=len(classes), class_="absent")]
        rows.append(element("tr", element("th", label, scope="row"), *cells, element("td", _share(share[i]))))
    caption = element("caption", f"{name}, % of each true class")
    body = element("table", caption, element("thead", rows[0]), element("tbody", *rows[1:]), class_="confusion")
    return element("div", body, class_="scroll", tabindex=0, role="region", aria_label=f"Confusion matrix, {name}")


def _cell(value: float, right: bool) -> Html:
    if value < 0.5:
        return element("td")
    strength = (value / 100) ** 0.7  # makes a few percent visible
    color = [round(255 - strength * (255 - channel)) for channel in (_RIGHT if right else _WRONG)]
    ink = ";color:#fff" if strength > 0.75 else ""
    return element("td", f"{value:.0f}", style=f"background:rgb({','.join(map(str, color))}){ink}")


def _share(percent: float) -> str:
    return f"{percent:.1f}" if percent >= 0.05 or percent == 0 else "<0.1"


def _most_frequent(counts: Mapping[str, np.ndarray], classes: ClassMap) -> Html:
    """Lists, for each class, how much is right and the most frequent mistake."""
    percents = {name: in_percent(one) for name, one in counts.items()}

    def cell(percent: np.ndarray, i: int) -> str:
        if np.isnan(percent[i, i]):
            return "not in the labels"
        mistakes = np.where(np.arange(len(classes)) == i, 0, percent[i])
        j = int(np.argmax(mistakes))
        return f"{percent[i, i]:.0f} right" + (f", {mistakes[j]:.0f} as {classes.names[j]}" if mistakes[j] else "")

    rows = [[label, *(cell(percent, i) for percent in percents.values())] for i, label in enumerate(classes.names)]
    head = ("class", *(f"{name} [%]" for name in counts))
    return details("The most frequent mistake of each class", table(head, rows, class_="plain"))
