"""HTML from Python values: anything that is not marked as HTML is escaped."""

import base64
import html
import io
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from sdeseg_jax.report.style_sheet import STYLE

MAX_WIDTH = 640
"""Pixels; wider pictures are shrunk, so that the page stays small."""

MIN_LABEL_WIDTH = 384
"""Pixels; narrower label maps are enlarged by repeating pixels, so that browsers do not blend their colours."""

MAX_PNG = 100_000
"""Bytes; larger photos are stored as JPEG, in a third of the space. Label maps and masks never are."""

_VOID_ELEMENTS = ("img", "meta")


class Html(str):
    """Text that is already HTML; any other string is escaped when it is put into a page."""

    __slots__ = ()


def escape(value) -> Html:
    """Returns any value as HTML: `Html` unchanged, anything else escaped."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def element(tag: str, /, *children, **attributes) -> Html:
    """Returns an element. `class_` becomes `class`, `aria_label` `aria-label`; children that are None are left out."""
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"' for key, value in attributes.items()
    )
    if tag in _VOID_ELEMENTS:
        return Html(f"<{tag}{opening}>")
    content = "".join(escape(child) for child in children if child is not None)
    return Html(f"<{tag}{opening}>{content}</{tag}>")


def join(parts: Iterable) -> Html:
    """Concatenates parts."""
    return Html("".join(escape(part) for part in parts))


def paragraph(*content) -> Html:
    """Returns a paragraph."""
    return element("p", *content)


def table(head: Sequence, rows: Iterable[Sequence], class_: str = "numbers") -> Html:
    """Returns a table whose first column names the rows; the class `numbers` aligns the others to the right."""
    header = element("thead", element("tr", *(element("th", cell, scope="col") for cell in head))) if head else None
    body = (
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    )
    return element("table", header, element("tbody", *body), class_=class_)


def details(summary: str, *children) -> Html:
    """Returns content that is collapsed until the reader opens it."""
    return element("details", element("summary", summary), *children)


def picture_uri(pixels: np.ndarray, smooth: bool = True) -> str:
    """Encodes a picture as a `data:` URI.

    Args:
      pixels: uint8 [H, W, 3], row 0 on top.
      smooth: whether colours may be blended by resizing; False for label maps and masks.
    """
    image, width = Image.fromarray(pixels), pixels.shape[1]
    if width > MAX_WIDTH:
        size = (MAX_WIDTH, max(1, round(pixels.shape[0] * MAX_WIDTH / width)))
        image = image.resize(size, Image.Resampling.BOX if smooth else Image.Resampling.NEAREST)
    elif width < MIN_LABEL_WIDTH and not smooth:
        factor = -(-MIN_LABEL_WIDTH // width)
        image = image.resize((width * factor, pixels.shape[0] * factor), Image.Resampling.NEAREST)
    content = _encoded(image, "PNG", optimize=True)
    kind = "png"
    if smooth and len(content) > MAX_PNG:
        kind, content = "jpeg", _encoded(image, "JPEG", quality=90, subsampling="4:4:4")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(image: Image.Image, kind: str, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def file_uri(path: pathlib.Path) -> str:
    """Encodes a PNG or JPEG file as a `data:` URI."""
    kind = "png" if path.suffix == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def page(title: str, sections: Iterable[tuple[str, str, Html]]) -> str:
    """Returns a complete HTML file with a table of contents of its sections: (anchor, heading, content)."""
    sections = list(sections)
    links = (element("li", element("a", heading, href=f"#{anchor}")) for anchor, heading, _ in sections)
    body = [element("h1", title), element("nav", element("ul", *links), aria_label="Contents")]
    for anchor, heading, content in sections:
        body.append(element("section", element("h2", heading), content, id=anchor))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", element("main", *body)), lang="en") + "\n"
