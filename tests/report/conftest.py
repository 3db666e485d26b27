"""Small inputs of the report, made by hand, and a reader of its pages."""

import html.parser
import json

import numpy as np
import pytest

from sdeseg_jax.data.classes import CITYSCAPES


@pytest.fixture
def scores():
    """Scores as `evaluate` records them: depth beats its priors, the method the baseline; one class is absent."""

    def segmentation(value):
        iou = {name: value + i for i, name in enumerate(CITYSCAPES.names)} | {"train": None}
        facts = {"protocol": CITYSCAPES.protocol, "network": "student", "inference": "input 96x192, whole image"}
        return facts | {"miou": value, "iou": iou, "pixel_accuracy": 80.0, "images": 3}

    depth = {"abs_rel": 0.2, "rmse": 5.0, "rmse_log": 0.3, "a1": 0.7}
    prior = {name: value + 0.05 for name, value in depth.items()}
    depth |= {"images": 3, "protocol": "median scaling per image, cap 50 m", "prior_abs_rel": 0.25}
    depth["priors"] = {"mean": prior, "median": prior}
    return {"depth": depth, "baseline": segmentation(20.0), "method": segmentation(26.0), "labels": 2}


@pytest.fixture
def write_metrics(tmp_path):
    """write_metrics([{"step": 1, ...}, ...]) → path of a metrics file."""

    def write(entries):
        path = tmp_path / "metrics.jsonl"
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return path

    return write


@pytest.fixture
def random():
    """Random generator with a fixed seed."""
    return np.random.default_rng(0)


VOID_ELEMENTS = {"img", "meta"}


class PageParser(html.parser.HTMLParser):
    """Collects the content of a page, and fails where elements are not nested properly.

    Attributes:
      attributes: all (element, attribute, value).
      ids: of sections.
      text: all text without style sheets.
    """

    def __init__(self, page: str):
        super().__init__()
        self.attributes, self.ids, self.text, self._open = [], [], "", []
        self.feed(page)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id" and tag == "section"]
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data


def assert_self_contained(page: str) -> PageParser:
    """Parses a page; fails if it would load something or run a script."""
    parsed = PageParser(page)
    assert "http:" not in page and "https:" not in page and "<script" not in page and "@import" not in page
    for tag, name, value in parsed.attributes:
        if name in ("src", "href", "xlink:href", "data", "srcset"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:80])
        assert not name.startswith("on"), (tag, name)
        if "url(" in value:
            assert value.replace("'", "").replace('"', "").startswith("url(#"), (tag, name, value[:80])
    return parsed


@pytest.fixture
def parse():
    """parse(page) → PageParser, after checking that the page is self-contained."""
    return assert_self_contained
