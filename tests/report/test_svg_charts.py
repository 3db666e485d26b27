import math
import re

from sdeseg_jax.report.svg_charts import Chart, draw_chart, draw_class_bars, loss_curves, read_metrics
from sdeseg_jax.report.training_charts import curves, training_charts

BOUNDS = {"disparity/spatial_variation": 0.05, "disparity/picture_dependence": 0.05}


def test_read_metrics_leaves_out_what_is_broken(write_metrics):
    path = write_metrics([{"step": 50, "loss/total": 2.0, "x": math.nan}, {"loss/total": 1.0}, {"step": 100, "x": 1}])
    path.write_text(path.read_text() + '[1]\n{"step": 150, "x": "y"}\n{"step": 200, "los')
    assert read_metrics(path) == {"loss/total": [(50, 2.0)], "x": [(100, 1.0)]}


def test_read_metrics_of_a_missing_file(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == {}


def test_total_is_shown_only_beside_several_terms():
    points = [(1, 1.0)]
    assert loss_curves({"loss/total": points, "loss/depth": points, "gradient_norm": points}) == {"depth": points}
    assert list(loss_curves({"loss/total": points, "loss/a_b": points, "loss/c": points})) == ["total", "a b", "c"]


def test_one_line_of_metrics_makes_dots(write_metrics, parse):
    metrics = read_metrics(write_metrics([{"step": 4, "loss/total": 0.0, "disparity/spatial_variation": 0.2}]))
    charts = training_charts({"depth": metrics}, BOUNDS)
    assert [chart.title for chart in charts] == ["Loss: depth", "Disparity: variation over the image"]
    html = curves({"depth": metrics}, BOUNDS)
    assert html.count("<svg") == 2
    assert "collapse" in parse(html).text


def test_no_metrics_no_section():
    assert curves({}, BOUNDS) == ""
    assert curves({"depth": {}}, BOUNDS) == ""


def test_all_charts_of_a_method(parse):
    points = [(50 * i, 1.0 / i) for i in range(1, 5)]
    names = ("loss/total", "loss/depth", "loss/supervised", "pseudo_label/quality", *BOUNDS)
    html = curves({"depth": dict.fromkeys(names, points), "method": dict.fromkeys(names, points)}, BOUNDS)
    assert html.count("<svg") == 5
    parse(html)


def test_charts_are_reproducible_and_escape_names(parse):
    chart = Chart("a <b> & c", {"<x>": [(1, 1.0), (2, 100.0), (3, 1.0)], "y": [(1, 3.0)]}, (0.5, "<bound>"), (0, 1))
    svg = draw_chart(chart)
    assert svg == draw_chart(chart)
    parsed = parse(svg)
    assert "<x>" in parsed.text and "a <b> & c" in parsed.text


def test_class_bars_with_a_class_that_has_no_value(parse):
    svg = draw_class_bars(("road", "<train>"), {"baseline": (50.0, None), "method": (60.0, 0.0)}, "IoU [%]")
    assert "<train>" in parse(svg).text


def test_figures_of_a_page_share_no_ids():
    """Otherwise the clip path of the first would cut off the curves of all others."""
    curves = {"x": [(1, 1.0), (2, 2.0), (3, 3.0)], "y": [(1, 3.0), (2, 3.0), (9, 3.0)]}
    first, second = (draw_chart(Chart(title, curves)) for title in ("Loss: a", "Loss: b"))
    ids = re.findall(r' id="([^"]*)"', first)
    assert (
        ids and all(name.startswith("loss-a-") for name in ids) and not set(ids) & set(re.findall(r'"(.*?)"', second))
    )
    assert set(re.findall(r'(?:url\(|href=")#([^")]*)', first)) == set(ids)
