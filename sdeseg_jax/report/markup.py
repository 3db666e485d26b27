"""HTML from Python values: whatever is not marked as HTML is escaped."""

import base64
import html
import io
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from sdeseg_jax.report.style import STYLE

MAX_WIDTH = 640
"""Pixels; wider pictures are shrunk, so that the page stays small."""

MIN_LABEL_WIDTH = 384
"""Pixels; narrower label maps are enlarged by repeating pixels, so that a browser does not blend their colours."""

_VOID_ELEMENTS = ("img", "meta")


class Html(str):
    """Text that is HTML already; any other string is escaped on its way into a page."""

    __slots__ = ()


def escape(value) -> Html:
    """Makes any value safe to stand in a page, HTML itself unchanged."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def element(tag: str, /, *children, **attributes) -> Html:
    """One element; `class_` becomes `class`; children that are None or "" are left out."""
    opening = "".join(f' {key.rstrip("_")}="{html.escape(str(value))}"' for key, value in attributes.items())
    if tag in _VOID_ELEMENTS:
        return Html(f"<{tag}{opening}>")
    content = "".join(escape(child) for child in children if child is not None)
    return Html(f"<{tag}{opening}>{content}</{tag}>")


def join(parts: Iterable) -> Html:
    """Puts parts one after another."""
    return Html("".join(escape(part) for part in parts))


def table(head: Sequence, rows: Iterable[Sequence], class_: str = "numbers") -> Html:
    """A table; the first cell of every row is its name. The class `numbers` aligns the others to the right."""
    header = element("thead", element("tr", *(element("th", cell, scope="col") for cell in head))) if head else None
    body = (
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    )
    return element("table", header, element("tbody", *body), class_=class_)


def details(summary: str, *children) -> Html:
    """Content that is folded away until the reader asks for it."""
    return element("details", element("summary", summary), *children)


def png_uri(pixels: np.ndarray, smooth: bool = True) -> str:
    """A picture as a `data:` address.

    Args:
      pixels: uint8 [H, W, 3], row 0 on top.
      smooth: whether colours may be blended where the size changes; False for label maps and masks.
    """
    image, width = Image.fromarray(pixels), pixels.shape[1]
    if width > MAX_WIDTH:
        size = (MAX_WIDTH, max(1, round(pixels.shape[0] * MAX_WIDTH / width)))
        image = image.resize(size, Image.Resampling.BOX if smooth else Image.Resampling.NEAREST)
    elif width < MIN_LABEL_WIDTH and not smooth:
        factor = -(-MIN_LABEL_WIDTH // width)
        image = image.resize((width * factor, pixels.shape[0] * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def file_uri(path: pathlib.Path) -> str:
    """A PNG or JPEG file as a `data:` address."""
    kind = "png" if path.suffix == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def page(title: str, sections: Iterable[tuple[str, str, Html]]) -> str:
    """The whole file.

    Args:
      title: of the page.
      sections: (anchor, heading, content) in order; the first stands without a heading, under the title.
    """
    sections = list(sections)
    links = join(element("a", heading, href=f"#{anchor}") for anchor, heading, _ in sections[1:])
    body = [element("h1", title), element("nav", links) if links else None]
    for number, (anchor, heading, content) in enumerate(sections):
        body.append(element("section", element("h2", heading) if number else None, content, id=anchor))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", *body), lang="en") + "\n"
