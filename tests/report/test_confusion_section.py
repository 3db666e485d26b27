"""Confusion matrices in the report, against counts made by hand."""

import re

import numpy as np
import pytest

from sdeseg_jax.data.classes import CITYSCAPES, ClassMap
from sdeseg_jax.report.confusion_section import confusion_section, in_percent

THREE = ClassMap("three", ("road", "<car>", "train"), ((0, 0, 0),) * 3)
COUNTS = [[150, 50, 0], [1, 399, 0], [0, 0, 0]]


def test_percent_of_each_true_class():
    percent = in_percent(np.array(COUNTS))
    np.testing.assert_allclose(percent[:2], [[75, 25, 0], [0.25, 99.75, 0]])
    assert np.isnan(percent[2]).all()


@pytest.fixture
def rows(parse):
    """Cells of the table's rows as text, the header first."""
    text = confusion_section({"method": {"confusion": COUNTS}}, THREE)
    parse(text)
    matrix = text[: text.index("</table>")]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", matrix)]


def test_true_classes_stand_in_rows(rows):
    assert [re.sub("</?span>", "", cell) for cell in rows[0][1:]] == ["road", "&lt;car&gt;", "train", "share of pixels"]
    assert rows[1] == ["road", "75", "25", "", "33.3"]
    assert rows[2] == ["&lt;car&gt;", "", "100", "", "66.7"]
    assert rows[3] == ["train", "not in the labels", "0.0"]


def test_most_frequent_mistakes(parse):
    text = parse(confusion_section({"baseline": {"confusion": COUNTS}, "method": {"confusion": COUNTS}}, THREE)).text
    assert text.count("75 right, 25 as <car>") == 2 and "baseline [%]method [%]" in text


def test_evaluations_of_old_versions_say_how_to_get_it(scores):
    assert "run --job=evaluate to add it" in confusion_section(scores, CITYSCAPES)
    scores["method"]["confusion"] = np.eye(19, dtype=int).tolist()
    text = confusion_section(scores, CITYSCAPES)
    assert "Confusion matrix, method" in text and "Confusion matrix, baseline" not in text
