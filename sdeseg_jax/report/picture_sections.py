"""The sections of the report that show pictures."""

import pathlib
from collections.abc import Mapping, Sequence

from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.report.colorize import ERROR, NEARNESS, Picture, color_ramp
from sdeseg_jax.report.html_markup import Html, details, element, file_uri, join, paragraph, picture_uri, table
from sdeseg_jax.report.panels import MAX_ERROR

VALIDATION_FRAMES = "Validation frames"


def missing(what: str, why) -> Html:
    """Stands where a section should be, but cannot be made."""
    return element("p", f"{what} cannot be shown: {why}", class_="warning")


def pictures(rows: Sequence[Sequence[Picture]], columns: int, class_: str = "pictures") -> Html:
    """Rows of pictures with their captions; the first of a row is what it is about."""

    def figure(picture: Picture, first: Picture) -> Html:
        text = picture.caption if picture is first else f"{first.caption}: {picture.caption}"
        image = element("img", src=picture_uri(picture.pixels, picture.smooth), alt=text)
        return element("figure", image, element("figcaption", picture.caption))

    # Each row is a grid of its own: in narrow windows it becomes several rows, and the next begins below them.
    shown = (element("div", *(figure(picture, row[0]) for picture in row), class_="row") for row in rows)
    return element("div", *shown, class_=class_, style=f"--columns:{columns}")


def color_scale(colormap: str, title: str, ticks: Sequence[tuple[float, str]]) -> Html:
    """A colour bar.

    Args:
      colormap: name.
      title: what it measures.
      ticks: (place in [0, 1], text); those at the ends stand within the bar.
    """

    def mark(place: float, text: str) -> Html:
        if place in (0, 1):
            return element("span", text, class_="end" if place else "start")
        return element("span", text, style=f"left:{100 * place:.1f}%")

    marks = (mark(*tick) for tick in ticks)
    ramp = element("img", src=picture_uri(color_ramp(colormap)), alt=title)
    return element("div", title, ramp, element("div", *marks, class_="ticks"), class_="scale")


def depth_section(
    rows: Sequence[Sequence[Picture]], nearest: float, cap: float, frames: str = VALIDATION_FRAMES
) -> Html:
    """Depth next to truth.

    Args:
      rows: from `panels.depth_rows`.
      frames: what they are, to begin a sentence with.
      nearest: metres of the brightest colour.
      cap: metres of the darkest colour but black.
    """
    note = paragraph(
        f"{frames}. Depth from video is known up to a scale: each prediction is multiplied by the ratio of "
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


def disparity_section(rows: Sequence[Sequence[Picture]], frames: str = VALIDATION_FRAMES) -> Html:
    """Disparity where the dataset has no true depth."""
    note = paragraph(
        f"{frames} and their predicted disparity (inverse depth, up to scale and without unit), each between "
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
        "(Eq. 22; Fig. 6 of the paper). Training takes the nearest of as many candidates, for every crop anew. In the "
        "paste mask, white shows the source and black the target. "
        f"{shown} Disparity is that of each domain's depth network, scaled to 0…1 per picture, bright near. "
        "Target labels are annotations, or the mean teacher's pseudo-labels; source pixels have their own, and count "
        f"as certain in q'.{matched}"
    )
    return join([note, *(pictures(rows, 5, "pictures group") for rows in groups), legend(classes)])


SELECTION_PICTURES = {
    "contact_sheet.jpg": "The chosen frames in the order of choice: rank, id, criterion.",
    "criterion.png": "What each frame was chosen by. Dashed: a new student was trained, so that errors change.",
    "feature_space.png": "Features of the depth decoder, two of their many dimensions.",
    "class_frequency.png": "Pixels of each class in the selection, against random selections of as many frames; in "
    "brackets the class's share in those. Labels are looked at for this comparison only.",
}
"""File in `selection/<n>/` -> its caption."""


def selection_section(folder: pathlib.Path, facts: Mapping, picks: Sequence[Mapping] = ()) -> Html:
    """Which frames were chosen for annotation.

    Args:
      folder: `selection/<n>` with the pictures, as many as there are.
      facts: metrics of the stage `select_labels`.
      picks: the frames in the order of choice, as in `selection/<n>.json`.
    """
    before = f", beside {facts['existing']} that were annotated before" if facts["existing"] else ""
    tied = f" {facts['tied']} of them had the same criterion as others: the seed decided." if facts["tied"] else ""
    note = paragraph(
        f"{folder.name} of {facts['candidates']} frames, chosen by '{facts['method']}'{before} (Sec. 3.2).{tied}"
    )
    figures = (
        element(
            "figure",
            element("img", src=file_uri(folder / name), alt=caption),
            element("figcaption", caption),
        )
        for name, caption in SELECTION_PICTURES.items()
        if (folder / name).exists()
    )

    def cells(rank: int, pick: Mapping) -> list:
        numbers = (pick[key] for key in ("criterion", "diversity", "uncertainty"))
        return [f"{rank}. {pick['id']}", *("–" if number is None else f"{number:.3g}" for number in numbers)]

    rows = [cells(*one) for one in enumerate(picks, 1)]
    listed = details("The chosen frames as a list", table(("frame", "criterion", "distance", "uncertainty"), rows))
    return join([note, element("div", *figures, class_="wide"), *([listed] if rows else [])])


def prediction_section(rows: Sequence[Sequence[Picture]], classes: ClassMap, frames: str = VALIDATION_FRAMES) -> Html:
    """Predictions next to truth."""
    note = paragraph(
        f"{frames} (Fig. 9 of the paper). In the captions, the share of this frame's labelled pixels that a "
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
