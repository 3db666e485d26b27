"""The sections of the report, from plain numbers and pictures."""

import pathlib
from collections.abc import Mapping, Sequence

from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.report.markup import Html, details, element, file_uri, join, png_uri, table
from sdeseg_jax.report.panels import MAX_ERROR
from sdeseg_jax.report.pictures import ERROR, NEARNESS, Picture, color_ramp
from sdeseg_jax.report.plots import Chart, draw_chart, draw_class_bars, loss_curves

NETWORKS = ("baseline", "method")
"""Keys of `metrics` that hold segmentation scores, in the order of the columns."""


def paragraph(*content) -> Html:
    """Running text."""
    return element("p", *content)


def missing(what: str, why) -> Html:
    """Stands where a section should be, but cannot be made."""
    return element("p", f"{what} cannot be shown: {why}", class_="warning")


def difference(value: float, digits: int = 1) -> Html:
    """A signed number, green above and red below zero."""
    value = round(value, digits) + 0.0  # no negative zero
    class_ = "gain" if value > 0 else "loss" if value < 0 else "note"
    return element("span", f"{value:+.{digits}f}".replace("-", "−") if value else "0", class_=class_)


def depth_scores(depth: Mapping) -> Html:
    """Scores of the depth network above those of the priors."""
    rows = [("self-supervised depth", depth)]
    rows += [(f"prior: {name} per pixel", prior) for name, prior in depth.get("priors", {}).items()]
    columns = (("abs_rel", 3), ("rmse", 2), ("rmse_log", 3), ("a1", 3))
    cells = [[name, *(f"{scores[key]:.{digits}f}" for key, digits in columns)] for name, scores in rows]
    prior, own = depth.get("prior_abs_rel"), depth["abs_rel"]
    text = f"{depth['images']} frames, {depth['protocol']}."
    if prior:
        text += (
            f" The absolute relative error is {abs(1 - own / prior):.0%} {'below' if own < prior else 'ABOVE'} that of "
            "the better prior, which knows the dataset but does not look at the picture."
        )
    return element(
        "div",
        element("h3", "Depth"),
        table(("", "abs rel ↓", "RMSE [m] ↓", "RMSE log ↓", "δ < 1.25 ↑"), cells),
        element("p", text, class_="note", style="max-width:520px"),
    )


def video_scores(video: Mapping) -> Html:
    """Photometric error on held-out video with and without warping, and ego-motion where poses are known."""
    share = 1 - video["photometric"] / max(video["identity"], 1e-12)
    text = f"{video['frames']} frames, better of both neighbours. Warping lowers the error by {share:.0%}."
    if motion := video.get("ego_motion"):
        text += (
            f" Ego-motion: the direction of travel is off by {motion['direction_error']:.1f}°, the rotation by "
            f"{motion['rotation_error']:.2f}° (true rotation {motion['rotation']:.2f}°; medians)."
        )
    rows = [["warped by depth and ego-motion", f"{video['photometric']:.4f}"],
            ["not warped", f"{video['identity']:.4f}"]]  # fmt: skip
    return element(
        "div",
        element("h3", "Held-out video"),
        table(("", "photometric error ↓"), rows),
        element("p", text, class_="note", style="max-width:420px"),
    )


def segmentation_scores(metrics: Mapping) -> Html:
    """mIoU and pixel accuracy of baseline and method, and the gain."""
    rows = [(name, metrics[name]) for name in NETWORKS if name in metrics]
    cells = [[name, f"{row['miou']:.1f}", f"{row['pixel_accuracy']:.1f}"] for name, row in rows]
    if len(rows) == 2:
        first, second = rows[0][1], rows[1][1]
        cells.append(["gain", *(difference(second[key] - first[key]) for key in ("miou", "pixel_accuracy"))])
    first = rows[0][1]
    networks = " and ".join(dict.fromkeys(row.get("network", "student") for _, row in rows))
    labels = f", {metrics['labels']} labelled frames" if "labels" in metrics else ""
    return element(
        "div",
        element("h3", "Segmentation"),
        table(("", "mIoU [%] ↑", "pixel accuracy [%] ↑"), cells),
        element("p", f"{first['images']} frames, classes of {first['protocol']}{labels}, {networks} network; "
                f"{first['inference']}.", class_="note", style="max-width:330px"),
    )  # fmt: skip


def seconds_per_stage(seconds: Mapping[str, float]) -> Html:
    """How long each stage took."""
    rows = [[stage, f"{value:.0f} s"] for stage, value in seconds.items()]
    return element("div", element("h3", "Time"), table((), [*rows, ["total", f"{sum(seconds.values()):.0f} s"]]))


def command(words: Sequence[str]) -> Html:
    """A command line that breaks between words only."""
    return join(part for word in words for part in (element("code", word), " "))


def summary(
    facts: Mapping[str, object], metrics: Mapping, seconds: Mapping[str, float], labeled: Sequence[str], config: Mapping
) -> Html:
    """The header.

    Args:
      facts: what the run is, name -> value.
      metrics: of the stage `evaluate`; may be empty.
      seconds: stage -> seconds.
      labeled: ids of the annotated training frames; may be empty.
      config: key -> value.
    """
    tables = []
    if "depth" in metrics:
        tables.append(depth_scores(metrics["depth"]))
    if "video" in metrics:
        tables.append(video_scores(metrics["video"]))
    if any(name in metrics for name in NETWORKS):
        tables.append(segmentation_scores(metrics))
    if seconds:
        tables.append(seconds_per_stage(seconds))
    ids = config_table = None
    if labeled:
        items = (element("li", element("code", name)) for name in labeled)
        ids = details(f"The {len(labeled)} labelled frames", element("ul", *items, class_="ids"))
    if config:
        rows = [[element("code", key), element("code", repr(value))] for key, value in sorted(config.items())]
        config_table = details(f"The config, {len(rows)} settings", table((), rows, class_="facts"))
    about = paragraph(
        "Semantic segmentation from few labels, helped by depth that was learned from video without labels "
        "(Hoyer et al., IJCV 2023). The baseline is the same program trained on the labelled frames alone."
    )
    run = [element("h3", "Run"), table((), facts.items(), class_="facts")]
    return join([about, element("div", *tables, class_="columns"), *run, *filter(None, (ids, config_table))])


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


def class_scores(metrics: Mapping, classes: ClassMap) -> Html:
    """IoU per class as bars and as a table, in the order of the protocol."""
    present = [name for name in NETWORKS if name in metrics]
    values = {name: [metrics[name]["iou"].get(label) for label in classes.names] for name in present}

    def cells(row):
        out = ["–" if value is None else f"{value:.1f}" for value in row]
        return [*out, "–" if None in row else difference(row[1] - row[0])] if len(row) == 2 else out

    rows = [[name, *cells([values[n][i] for n in present])] for i, name in enumerate(classes.names)]
    rows.append([element("b", "mean"), *cells([metrics[name]["miou"] for name in present])])
    head = ("", *present, *(("difference",) if len(present) == 2 else ()))
    note = paragraph(
        "Intersection over union in percent. A dash: the class occurs neither in the labels nor in the predictions."
    )
    bars = element("figure", draw_class_bars(classes.names, values, "IoU [%]"), style="margin:0")
    return join([note, element("div", bars, table(head, rows), class_="classes")])


def pictures(rows: Sequence[Sequence[Picture]], columns: int, class_: str = "pictures") -> Html:
    """Rows of pictures with their captions."""
    figures = (
        element(
            "figure",
            element("img", src=png_uri(picture.pixels, picture.smooth), alt=picture.caption),
            element("figcaption", picture.caption),
        )
        for row in rows
        for picture in row
    )
    return element("div", *figures, class_=class_, style=f"grid-template-columns:repeat({columns},minmax(0,1fr))")


def color_scale(colormap: str, title: str, ticks: Sequence[tuple[float, str]]) -> Html:
    """A colour bar.

    Args:
      colormap: name.
      title: what it measures.
      ticks: (place in [0, 1], text).
    """
    marks = (element("span", text, style=f"left:{100 * place:.1f}%") for place, text in ticks)
    ramp = element("img", src=png_uri(color_ramp(colormap)), alt=title)
    return element("div", title, ramp, element("div", *marks, class_="ticks"), class_="scale")


def depth_section(rows: Sequence[Sequence[Picture]], nearest: float, cap: float) -> Html:
    """Depth next to truth.

    Args:
      rows: from `panels.depth_rows`.
      nearest: metres of the brightest colour.
      cap: metres of the darkest colour but black.
    """
    note = paragraph(
        "Validation frames. Depth from video is known up to a scale: each prediction is multiplied by the ratio of "
        f"the medians of truth and prediction (the factor in its caption) and is in metres then, cut off at {cap:g} m. "
        "Shown is inverse depth, bright is near, on one scale for predictions and truths. "
        "Black: sky, or no truth. Errors are shown where truth is known up to the cut-off."
    )
    metres = [d for d in (50, 20, 10, 5, 3, 2, 1) if nearest * 1.3 <= d <= cap]
    ticks = [(nearest / d, f"{d} m") for d in metres] + [(1.0, f"{nearest:.1f} m")]
    scales = element(
        "div",
        color_scale(NEARNESS, "Inverse depth", ticks),
        color_scale(ERROR, "Absolute relative error |predicted − true| / true",
                    [(0.0, "0"), (0.5, f"{MAX_ERROR / 2:.0%}"), (1.0, f"≥ {MAX_ERROR:.0%}")]),
        class_="scales",
    )  # fmt: skip
    return join([note, pictures(rows, 4), scales])


def disparity_section(rows: Sequence[Sequence[Picture]]) -> Html:
    """Disparity where the dataset has no true depth."""
    note = paragraph(
        "Validation frames and their predicted disparity (inverse depth, up to scale and without unit), each between "
        "its own extremes; bright is near. This dataset has no true depth to compare with."
    )
    return join([note, pictures(rows, 4)])


def depthmix_section(
    pairs: Sequence[Sequence[Sequence[Picture]]], margin: float, threshold: float, source: str, classes: ClassMap
) -> Html:
    """DepthMix panels.

    Args:
      pairs: from `panels.depthmix_rows`.
      margin: of the mask.
      threshold: of the confidence.
      source: whose disparity it is.
    """
    note = paragraph(
        "Pairs of training frames as the student sees them, before strong augmentation (Fig. 8 of the paper). A pixel "
        f"shows frame A where its disparity is at least that of B minus {margin:g}, so nearer things occlude farther "
        f"ones. Disparity is that of {source}, scaled to 0…1 per picture, bright near. Labels are the trained mean "
        "teacher's pseudo-labels, or the annotation where there is one. Confidence is the teacher's (dark 0, yellow 1; "
        f"annotations count as 1); q' is the share of pixels above {threshold:g} and weights the loss."
    )
    groups = (pictures(rows, 4, "pictures group") for rows in pairs)
    return join([note, *groups, legend(classes)])


def adaptation_section(
    groups: Sequence[Sequence[Sequence[Picture]]],
    kind: str,
    margin: float,
    classes: ClassMap,
    gap: Mapping | None = None,
) -> Html:
    """Source frames mixed into target frames.

    Args:
      groups: a target each, from `adaptation.cross_domain_rows`.
      kind: what source pixels are chosen by, "depth", "class" or "cut".
      margin: of the mask of "depth".
      classes: of the labels.
      gap: mean G of the crops that were "matched", and of "random" ones.
    """
    shown = {
        "depth": "A pixel shows whichever of the two is nearer, by its disparity. Where the two differ by less than "
        f"{margin:g}, on the road mostly, all of the image shows the one or the other, by chance.",
        "class": "Half of the source's classes, drawn at random, are pasted onto the target.",
        "cut": "A rectangle of half the area, drawn at random, shows the target, the rest the source.",
    }[kind]
    matched = ""
    if gap:
        matched = (
            f" Of the training's first batches, matched crops differed by {gap['matched']:.4f} on average, crops drawn "
            f"at random by {gap['random']:.4f}."
        )
    note = paragraph(
        "Target frames, and source frames that could be mixed into them, in the order of their geometric difference G "
        "(Eq. 22; Fig. 6 of the paper). Training takes the nearest of as many candidates, for every crop anew. "
        f"{shown} Disparity is that of each domain's depth network, scaled to 0…1 per picture, bright near. "
        "Target labels are annotations, or the mean teacher's pseudo-labels; source pixels have their own, and count "
        f"as certain in q'.{matched}"
    )
    return join([note, *(pictures(rows, 4, "pictures group") for rows in groups), legend(classes)])


SELECTION_PICTURES = {
    "contact_sheet.jpg": "The chosen frames in the order of choice: rank, id, criterion.",
    "criterion.png": "What each frame was chosen by. Dashed: a new student was trained, so that errors change.",
    "feature_space.png": "Features of the depth decoder, two of their many dimensions.",
    "class_frequency.png": "Pixels of each class in the selection, against random selections of as many frames; in "
    "brackets the class's share in those. Labels are looked at for this comparison only.",
}
"""File in `selection/<n>/` -> its caption."""


def selection_section(folder: pathlib.Path, facts: Mapping) -> Html:
    """Which frames were chosen for annotation.

    Args:
      folder: `selection/<n>` with the pictures, as many as there are.
      facts: metrics of the stage `select_labels`.
    """
    before = f", beside {facts['existing']} that were annotated before" if facts["existing"] else ""
    tied = f" {facts['tied']} of them had the same criterion as others: the seed decided." if facts["tied"] else ""
    note = paragraph(
        f"{folder.name} of {facts['candidates']} frames, chosen by '{facts['method']}'{before} (Sec. 3.2).{tied}"
    )
    figures = (
        element(
            "figure",
            element("img", src=file_uri(folder / name), alt=caption, style="max-width:100%"),
            element("figcaption", caption),
            style="margin:14px 0",
        )
        for name, caption in SELECTION_PICTURES.items()
        if (folder / name).exists()
    )
    return join([note, *figures])


def prediction_section(rows: Sequence[Sequence[Picture]], classes: ClassMap) -> Html:
    """Predictions next to truth."""
    note = paragraph(
        "Validation frames (Fig. 9 of the paper). In the captions, the share of this frame's labelled pixels that a "
        f"network gets right. Colours and classes of {classes.protocol}."
    )
    return join([note, legend(classes), pictures(rows, len(rows[0]))])


def legend(classes: ClassMap) -> Html:
    """Which colour is which class."""
    entries = [*zip(classes.names, classes.colors, strict=True), ("void", (0, 0, 0))]
    items = (
        element("span", element("span", class_="swatch", style=f"background:rgb{tuple(map(int, color))}"), name)
        for name, color in entries
    )
    return element("div", *items, class_="legend")
