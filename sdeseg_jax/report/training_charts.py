"""Training curves: which charts a run has."""

from collections.abc import Mapping

from sdeseg_jax.report.html_markup import Html, element, join, paragraph
from sdeseg_jax.report.svg_charts import Chart, draw_chart, loss_curves


def training_charts(metrics: Mapping[str, Mapping], bounds: Mapping[str, float]) -> list[Chart]:
    """The charts of a run.

    Args:
      metrics: training ("depth", "baseline", "method", ...) -> what its metrics file says.
      bounds: name of a metric -> value below which depth may have collapsed.
    """
    charts = [Chart(f"Loss: {name}", loss_curves(values)) for name, values in metrics.items()]
    for name, title in (
        ("disparity/spatial_variation", "Disparity: variation over the image"),
        ("disparity/picture_dependence", "Disparity: variation between pictures"),
    ):
        curves = {training: values[name] for training, values in metrics.items() if name in values}
        bound = (bounds[name], "collapse below") if name in bounds else None
        charts.append(Chart(title, curves, bound))
    quality = {
        name + (", with the source" if key == "cross_domain/quality" else ""): values[key]
        for name, values in metrics.items()
        for key in ("pseudo_label/quality", "cross_domain/quality")
        if key in values
    }
    charts.append(Chart("Pseudo-labels: quality q'", quality, limits=(0.0, 1.0)))
    return [chart for chart in charts if chart.curves]


def curves(metrics: Mapping[str, Mapping], bounds: Mapping[str, float]) -> Html:
    """Training curves; empty without a single point. Arguments as for `training_charts`."""
    figures = [element("figure", draw_chart(chart)) for chart in training_charts(metrics, bounds)]
    note = paragraph(
        "Losses are those that training minimises, term by term. Disparity that hardly varies over the image or "
        "between pictures is a sign of collapsed depth: compare with the dashed line. The quality q' of pseudo-labels "
        "is the share of pixels that the teacher is confident of."
    )
    return join([note, element("div", *figures, class_="charts")]) if figures else Html("")
