"""Training curves of a run."""

from collections.abc import Mapping

from sdeseg_jax.report.html_markup import Html, element, join, paragraph
from sdeseg_jax.report.svg_charts import Chart, draw_chart, loss_curves


def training_charts(metrics: Mapping[str, Mapping], bounds: Mapping[str, float]) -> list[Chart]:
    """Returns the charts of a run, without those that have no points.

    Args:
      metrics: training ("depth", "baseline", "method", ...) -> metrics of its metrics file.
      bounds: metric -> value below which depth may have collapsed.
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
    """Returns the section of `training_charts`, empty without any; same arguments."""
    figures = [element("figure", draw_chart(chart)) for chart in training_charts(metrics, bounds)]
    note = paragraph(
        "Losses are the terms that training minimises. Disparity that hardly varies over the image or between "
        "pictures is a sign of collapsed depth: compare it with the dashed line. The quality q' of pseudo-labels is "
        "the share of pixels about which the teacher is confident."
    )
    return join([note, element("div", *figures, class_="charts")]) if figures else Html("")
