import base64
import io

import numpy as np
from PIL import Image

from sdeseg_jax.report.html_markup import MAX_WIDTH, Html, details, element, escape, page, picture_uri, table
from sdeseg_jax.report.style_sheet import STYLE

NASTY = "<script>alert(\"x\")</script> & 'quoted'"


def _decode(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_text_is_escaped_wherever_it_stands(parse):
    text = page(
        NASTY,
        [
            ("summary", "Summary", element("p", NASTY, title=NASTY)),
            ("other", NASTY, table((NASTY,), [(NASTY, NASTY)])),
            ("third", "Third", details(NASTY, NASTY)),
        ],
    )
    parsed = parse(text)
    assert parsed.text.count(NASTY) == 10
    assert ("p", "title", NASTY) in parsed.attributes


def test_html_is_not_escaped_twice():
    assert escape(element("b", "a & b")) == "<b>a &amp; b</b>"
    assert element("p", element("b", "<")) == "<p><b>&lt;</b></p>"
    assert isinstance(element("p"), Html)


def test_page_has_sections_in_order_and_links_to_them(parse):
    parsed = parse(page("t", [(name, name, Html("")) for name in ("first", "second", "third")]))
    assert parsed.ids == ["first", "second", "third"]
    assert [value for tag, name, value in parsed.attributes if tag == "a"] == ["#first", "#second", "#third"]


def test_style_sheet_is_plain():
    assert STYLE.count("{") == STYLE.count("}")
    assert "url(" not in STYLE and "</" not in STYLE


def test_png_keeps_pixels(random):
    pixels = random.integers(0, 256, (5, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(_decode(picture_uri(pixels)), pixels)


def test_png_enlarges_label_maps_by_repeating_pixels(random):
    pixels = random.integers(0, 256, (4, 100, 3), dtype=np.uint8)
    np.testing.assert_array_equal(_decode(picture_uri(pixels, smooth=False)), pixels.repeat(4, 0).repeat(4, 1))


def test_png_shrinks_wide_pictures_without_new_colours_in_label_maps(random):
    colors = np.array([(0, 0, 0), (128, 64, 128), (220, 20, 60)], np.uint8)
    pixels = colors[random.integers(0, 3, (30, 2 * MAX_WIDTH))]
    shrunk = _decode(picture_uri(pixels, smooth=False))
    assert shrunk.shape == (15, MAX_WIDTH, 3)
    assert {tuple(color) for color in shrunk.reshape(-1, 3)} <= {tuple(color) for color in colors}
    assert _decode(picture_uri(pixels)).shape == (15, MAX_WIDTH, 3)


def test_large_photos_are_jpeg_and_label_maps_never():
    pixels = np.random.default_rng(0).integers(0, 256, (200, 400, 3), np.uint8)
    assert picture_uri(pixels).startswith("data:image/jpeg;")
    assert np.abs(_decode(picture_uri(pixels)).astype(int) - pixels).mean() < 20
    label = picture_uri(pixels, smooth=False)
    assert label.startswith("data:image/png;")
    np.testing.assert_array_equal(_decode(label), pixels)
