"""The sections of the report that show pictures."""

import pathlib
from collections.abc import Mapping, Sequence

from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.drawing.disparity_and_error_colors import ERROR, NEARNESS, Picture, color_ramp
from sdeseg_jax.report.html_markup import Html, details, element, file_uri, join, paragraph, picture_uri, table
from sdeseg_jax.report.panels import MAX_ERROR

VALIDATION_FRAMES = "Validation frames"


def missing(what: str, why) -> Html:
    """Returns the placeholder of a section that cannot be made."""
    return element("p", f"{what} cannot be shown: {why}", class_="warning")


def pictures(rows: Sequence[Sequence[Picture]], columns: int, class_: str = "pictures") -> Html:
    """Returns rows of pictures with captions; alternative texts begin with the caption of the row's first picture."""

    def figure(picture: Picture, first: Picture) -> Html:
        text = picture.caption if picture is first else f"{first.caption}: {picture.caption}"
        image = element("img", src=picture_uri(picture.pixels, picture.smooth), alt=text)
        return element("figure", image, element("figcaption", picture.caption))

    # Each row is its own grid: a narrow window breaks it into several lines without mixing it with the next.
    shown = (element("div", *(figure(picture, row[0]) for picture in row), class_="row") for row in rows)
    return element("div", *shown, class_=class_, style=f"--columns:{columns}")


def color_scale(colormap: str, title: str, ticks: Sequence[tuple[float, str]]) -> Html:
    """Returns a colour bar; ticks are (position in [0, 1], text), aligned inwards at the two ends."""

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
    """Returns depth next to ground truth.

    Args:
      rows: from `panels.depth_rows`.
      nearest: depth of the brightest colour, metres.
      cap: depth of the darkest colour above black, metres.
      frames: what they are; begins a sentence.
    """
    note = paragraph(
        f"{frames}. Depth from video is known up to a scale: each prediction is converted to metres by the ratio of "
        f"the medians of truth and prediction (the factor in its caption), and clipped at {cap:g} m. The maps show "
        "inverse depth (bright is near) on one scale for predictions and truth. Black: sky or unknown depth. "
        f"Errors are shown where the truth is known and at most {cap:g} m."
    )
    metres = [d for d in (50, 20, 10, 5, 3, 2, 1) if nearest * 1.3 <= d <= cap]
    ticks = [(nearest / d, f"{d} m") for d in metres] + [(1.0, f"{nearest:.1f} m")]
    errors = [(0.0, "0"), (0.5, f"{MAX_ERROR / 2:.0%}"), (1.0, f"≥ {MAX_ERROR:.0%}")]
    error_scale = color_scale(ERROR, "Absolute relative error |predicted − true| / true", errors)
    scales = element("div", color_scale(NEARNESS, "Inverse depth", ticks), error_scale, class_="scales")
    return join([note, pictures(rows, 4), scales])


def disparity_section(rows: Sequence[Sequence[Picture]], frames: str = VALIDATION_FRAMES) -> Html:
    """Returns predicted disparity, for datasets without true depth."""
    note = paragraph(
        f"{frames} and their predicted disparity (inverse depth up to scale, without unit), each coloured over its own "
        "range; bright is near. This dataset has no true depth to compare with."
    )
    return join([note, pictures(rows, 4)])


def depthmix_section(
    pairs: Sequence[Sequence[Sequence[Picture]]], margin: float, threshold: float, source: str, classes: ClassMap
) -> Html:
    """Returns DepthMix panels.

    Args:
      pairs: from `panels.depthmix_rows`.
      margin: of the mask.
      threshold: of the confidence.
      source: of the disparity, in words.
    """
    note = paragraph(
        "Pairs of training frames as the student sees them, before strong augmentation (Fig. 8 of the paper). A pixel "
        f"shows frame A where its disparity is at least that of B minus {margin:g}: nearer things occlude farther "
        f"ones. Disparity is that of {source}, scaled to 0…1 per image; bright is near. Labels are annotations where "
        "they exist, else pseudo-labels of the trained mean teacher. Confidence is the teacher's (dark 0, yellow 1; "
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
    """Returns source frames mixed into target frames.

    Args:
      groups: one per target, from `adaptation_panels.cross_domain_rows`.
      kind: of the mask, "depth", "class" or "cut".
      margin: of the mask "depth".
      gap: mean G of "matched" and of "random" crops.
    """
    shown = {
        "depth": "Each pixel shows whichever of the two is nearer by its disparity. Where they differ by less than "
        f"{margin:g}, mostly on the road, one random draw per image decides between source and target.",
        "class": "Half of the source's classes, drawn at random, are pasted onto the target.",
        "cut": "A rectangle of half the area, drawn at random, shows the target, the rest the source.",
    }[kind]
    matched = ""
    if gap:
        matched = (
            f" In the first training batches, matched crops differ by {gap['matched']:.4f} on average, random crops "
            f"by {gap['random']:.4f}."
        )
    note = paragraph(
        "Target frames and candidate source frames, sorted by their geometric difference G (Eq. 22; Fig. 6 of the "
        "paper). For every crop, training draws as many candidates and takes the nearest. In the paste mask, white "
        f"shows the source and black the target. {shown} Disparity is that of each domain's depth network, scaled to "
        "0…1 per image; bright is near. Target labels are annotations or pseudo-labels of the mean teacher; source "
        f"pixels keep their labels and count as certain in q'.{matched}"
    )
    return join([note, *(pictures(rows, 5, "pictures group") for rows in groups), legend(classes)])


SELECTION_PICTURES = {
    "contact_sheet.jpg": "The chosen frames in the order of choice: rank, id, criterion.",
    "criterion.png": "Criterion of each chosen frame. Dashed: a new student was trained, which changes the errors.",
    "feature_space.png": "Features of the depth decoder along their first two principal components.",
    "class_frequency.png": "Share of each class in the selection, relative to random selections of the same size; in "
    "brackets its share in those. Labels are used for this comparison only.",
}
"""File in `selection/<n>/` -> its caption."""


def selection_section(folder: pathlib.Path, facts: Mapping, picks: Sequence[Mapping] = ()) -> Html:
    """Returns the frames that were chosen for annotation.

    Args:
      folder: `selection/<n>`; pictures that it lacks are left out.
      facts: metrics of the stage `select_labels`.
      picks: the frames in the order of choice, as in `selection/<n>.json`.
    """
    before = f", in addition to {facts['existing']} annotated before" if facts["existing"] else ""
    tied = f" {facts['tied']} of them tied with others; the seed decided." if facts["tied"] else ""
    note = paragraph(
        f"{folder.name} of {facts['candidates']} frames, chosen by '{facts['method']}'{before} (Sec. 3.2).{tied}"
    )
    figures = (
        element("figure", element("img", src=file_uri(folder / name), alt=caption), element("figcaption", caption))
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
    """Returns predictions next to ground truth."""
    note = paragraph(
        f"{frames} (Fig. 9 of the paper). Captions give the share of the frame's labelled pixels that a network "
        f"predicts correctly. Colours and classes of {classes.protocol}."
    )
    return join([note, legend(classes), pictures(rows, len(rows[0]))])


def legend(classes: ClassMap) -> Html:
    """Returns the colours of the classes."""
    entries = [*zip(classes.names, classes.colors, strict=True), ("void", (0, 0, 0))]
    items = (
        element("span", element("span", class_="swatch", style=f"background:rgb{tuple(map(int, color))}"), name)
        for name, color in entries
    )
    return element("div", *items, class_="legend")
