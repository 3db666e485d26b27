"""Tables of scores: depth, held-out video, segmentation, IoU per class."""

from collections.abc import Iterable, Mapping, Sequence

from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.evaluation.segmentation_metrics import is_of_one_class, scopes
from sdeseg_jax.report.html_markup import Html, element, join, paragraph, table
from sdeseg_jax.report.svg_charts import draw_class_bars

NOT_SCORED = "null"
"""Stands where nothing could be scored, as in `metrics.json`."""

NETWORKS = ("baseline", "method")
"""Keys of `metrics` that hold segmentation scores, in the order of the columns."""


def difference(value: float, digits: int = 1) -> Html:
    """Formats a signed number, green above and red below zero."""
    value = round(value, digits) + 0.0  # no negative zero
    class_ = "gain" if value > 0 else "loss" if value < 0 else "note"
    return element("span", f"{value:+.{digits}f}".replace("-", "−") if value else "0", class_=class_)


def _score_table(title: str, head: Sequence[str], rows: Iterable[Sequence], note: str) -> Html:
    return element("div", element("h3", title), table(head, rows), element("p", note, class_="note"))


def depth_scores(depth: Mapping) -> Html:
    """Returns a table with the scores of the depth network and of the priors."""
    rows = [("self-supervised depth", depth)]
    rows += [(f"prior: {name} per pixel", prior) for name, prior in depth.get("priors", {}).items()]
    columns = (("abs_rel", 3), ("rmse", 2), ("rmse_log", 3), ("a1", 3))
    cells = [[name, *(f"{scores[key]:.{digits}f}" for key, digits in columns)] for name, scores in rows]
    own, text = depth["abs_rel"], f"{depth['images']} frames, {depth['protocol']}."
    if prior := depth.get("prior_abs_rel"):
        text += (
            f" The absolute relative error is {abs(1 - own / prior):.0%} {'below' if own < prior else 'ABOVE'} that of "
            "the better prior, which knows the dataset but ignores the image."
        )
    return _score_table("Depth", ("depth", "abs rel ↓", "RMSE [m] ↓", "RMSE log ↓", "δ < 1.25 ↑"), cells, text)


def video_scores(video: Mapping) -> Html:
    """Returns photometric errors on held-out video, and errors of ego-motion where true poses are known."""
    share = 1 - video["photometric"] / max(video["identity"], 1e-12)
    text = f"{video['frames']} frames, better neighbour per pixel. Warping lowers the error by {share:.0%}."
    if motion := video.get("ego_motion"):
        text += (
            f" Ego-motion: the direction of travel is off by {motion['direction_error']:.1f}°, the rotation by "
            f"{motion['rotation_error']:.2f}° (true rotation {motion['rotation']:.2f}°; medians)."
        )
    if path := video.get("trajectory"):
        prior = path["straight_ahead"]
        text += (
            f" The predicted path, scaled by one factor, is off by {path['snippet_error']:.3f} ± "
            f"{path['snippet_deviation']:.3f} m over 5 frames and by {path['clip_percent']:.2f} % of its length over "
            f"whole clips (root mean square). Driving straight ahead at constant speed would be off by "
            f"{prior['snippet_error']:.3f} ± {prior['snippet_deviation']:.3f} m and {prior['clip_percent']:.2f} %."
        )
    rows = {"warped by depth and ego-motion": f"{video['photometric']:.4f}", "not warped": f"{video['identity']:.4f}"}
    return _score_table("Held-out video", ("neighbours", "photometric error ↓"), rows.items(), text)


def segmentation_scores(metrics: Mapping) -> Html:
    """Returns a table with mIoU and pixel accuracy of baseline and method, and the gain."""
    rows = [(name, metrics[name]) for name in NETWORKS if name in metrics]
    keys = "miou", "pixel_accuracy"
    marks = {name: " (one class)" if is_of_one_class(row) else "" for name, row in rows}
    cells = [[name, *(_percent(row[key], marks[name]) for key in keys)] for name, row in rows]
    if len(rows) == 2:
        pairs = [[row[key] for _, row in rows] for key in keys]
        cells.append(["gain", *(NOT_SCORED if None in pair else difference(pair[1] - pair[0]) for pair in pairs)])
    first = rows[0][1]
    networks = " and ".join(dict.fromkeys(row.get("network", "student") for _, row in rows))
    labels = f", {metrics['labels']} labelled frames" if "labels" in metrics else ""
    facts = (
        f"{first['images']} frames, classes of {first['protocol']}{labels}, {networks} network; {first['inference']}"
    )
    text = " ".join(f"{sentence}." for sentence in (facts, *scopes(dict(rows))))
    return _score_table("Segmentation", ("network", "mIoU [%] ↑", "pixel accuracy [%] ↑"), cells, text)


def _percent(value: float | None, mark: str = "") -> str:
    return NOT_SCORED if value is None else f"{value:.1f}{mark}"


def class_scores(metrics: Mapping, classes: ClassMap) -> Html:
    """Returns the IoU per class as bars and as a table, in the order of the protocol."""
    present = [name for name in NETWORKS if name in metrics]
    values = {name: [metrics[name]["iou"].get(label) for label in classes.names] for name in present}

    def cells(row):
        out = ["–" if value is None else f"{value:.1f}" for value in row]
        return [*out, "–" if None in row else difference(row[1] - row[0])] if len(row) == 2 else out

    rows = [[name, *cells([values[n][i] for n in present])] for i, name in enumerate(classes.names)]
    means = cells([metrics[name]["miou"] for name in present])
    rows.append([element("b", "mean"), *(NOT_SCORED if one == "–" else one for one in means)])
    head = ("class", *present, *(("difference",) if len(present) == 2 else ()))
    note = paragraph(
        "Intersection over union in percent. A dash: the class occurs neither in the labels nor in the predictions."
    )
    bars = element("figure", draw_class_bars(classes.names, values, "IoU [%]"))
    return join([note, element("div", bars, table(head, rows), class_="classes")])
