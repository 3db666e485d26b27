import numpy as np
import pytest

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.report import panels, picture_sections
from sdeseg_jax.report.html_markup import page
from sdeseg_jax.report.run_section import summary
from sdeseg_jax.report.scores_section import class_scores, segmentation_scores, video_scores


@pytest.fixture
def parse_sections(parse):
    """parse_sections(content, ...) → PageParser of a page with these sections."""
    return lambda *contents: parse(page("t", [(f"s{i}", f"S{i}", content) for i, content in enumerate(contents)]))


def test_summary_has_warnings_first_then_scores(scores, parse_sections):
    text = parse_sections(summary({"Dataset": "streets & <more>"}, scores, ["Few <frames>."])).text
    for expected in ("0.200", "0.250", "20% below", "26.0", "+6.0", "streets & <more>", "cityscapes-19"):
        assert expected in text, expected
    assert text.index("Few <frames>.") < text.index("26.0")


def test_summary_shouts_when_depth_is_worse_than_the_prior(scores, parse_sections):
    scores["depth"]["abs_rel"] = 0.5
    assert "100% ABOVE" in parse_sections(summary({}, scores, [])).text


def test_summary_without_evaluation(parse_sections):
    text = parse_sections(summary({"Seed": 3}, {}, [])).text
    assert "mIoU" not in text and "abs rel" not in text and "Seed" in text and "Warnings" not in text


def test_class_table_in_order_with_difference(scores, parse_sections):
    scores["method"]["iou"]["road"] = 10.0
    text = parse_sections(class_scores(scores, CITYSCAPES)).text
    places = [text.rindex(name) for name in CITYSCAPES.names]
    assert places == sorted(places)
    assert "−10.0" in text and "+6.0" in text and "–" in text


def test_class_table_of_the_method_alone(scores, parse_sections):
    del scores["baseline"]
    text = parse_sections(class_scores(scores, CITYSCAPES)).text
    assert "difference" not in text and "baseline" not in text and "26.0" in text


def test_picture_sections_are_self_contained(random, parse_sections):
    images, maps = random.random((2, 8, 12, 3)), random.random((2, 8, 12)) + 1
    rows = panels.depth_rows(["<a>", "b"], images, maps, maps * 3, 50.0)
    pair = panels.MixedPair(("a", "b"), (True, False), images, maps, maps[0] > 1.5, images[0], maps[0], maps[1], 0.5)
    labels = np.zeros((2, 8, 12), np.uint8)
    shown = panels.prediction_rows(["a", "b"], images, labels, {"method": labels}, CITYSCAPES)
    parsed = parse_sections(
        picture_sections.depth_section(rows, 3.0, 50.0),
        picture_sections.disparity_section(panels.disparity_rows(["a", "b"], images, maps)),
        picture_sections.depthmix_section([panels.depthmix_rows(pair, CITYSCAPES)], 0.03, 0.968, "<it>", CITYSCAPES),
        picture_sections.prediction_section(shown, CITYSCAPES),
    )
    assert sum(tag == "img" and name == "src" for tag, name, _ in parsed.attributes) == 8 + 2 + 4 + 8 + 6
    assert "<a>" in parsed.text and "<it>" in parsed.text
    assert ("img", "alt", "<a>") in parsed.attributes
    assert ("span", "style", "background:rgb(220, 20, 60)") in parsed.attributes


def test_depth_scale_ticks_lie_within_the_bar(random, parse_sections):
    truth = random.random((1, 8, 12)) * 4 + 1
    parsed = parse_sections(picture_sections.depth_section([], panels.nearest_depth(truth, 50.0), 50.0))
    places = [float(v[5:-1]) for t, n, v in parsed.attributes if t == "span" and n == "style" and v.startswith("left:")]
    assert places and all(0 <= place <= 100 for place in places)


def test_missing_says_why(parse_sections):
    assert "no <checkpoint>" in parse_sections(picture_sections.missing("Depth", "no <checkpoint>")).text


def test_scores_on_video_say_how_much_warping_explains():
    motion = {"direction_error": 0.64, "rotation_error": 0.08, "rotation": 0.3}
    text = video_scores({"photometric": 0.12, "identity": 0.16, "frames": 8, "ego_motion": motion})
    assert "0.1200" in text and "0.1600" in text and "by 25%" in text and "8 frames" in text and "0.6°" in text
    assert "Ego-motion" not in video_scores({"photometric": 0.12, "identity": 0.16, "frames": 8})


def test_error_of_the_path_stands_beside_that_of_driving_straight_ahead():
    path = {"snippet_error": 0.0214, "snippet_deviation": 0.004, "clip_percent": 1.234}
    path |= {"straight_ahead": {"snippet_error": 0.053, "snippet_deviation": 0.012, "clip_percent": 4.567}}
    text = video_scores({"photometric": 0.12, "identity": 0.16, "frames": 8, "trajectory": path})
    assert "0.021 ± 0.004 m" in text and "1.23 %" in text and "0.053 ± 0.012 m" in text and "4.57 %" in text


def test_scores_of_nothing_are_null_and_those_of_one_class_marked(scores, parse_sections):
    text = parse_sections(segmentation_scores(scores)).text
    assert "26.0" in text and "+6.0" in text and "null" not in text and "mean over 18 of 19 classes" in text
    scores["method"] |= {"annotated_images": 3, "labelled_classes": 1}
    text = parse_sections(segmentation_scores(scores)).text
    assert "26.0 (one class)" in text and "mIoU of method: mean over 18 of 19 classes of which ONE is annotated" in text
    nothing = {"miou": None, "pixel_accuracy": None, "iou": dict.fromkeys(CITYSCAPES.names), "annotated_images": 0}
    scores["baseline"] |= nothing
    scores["method"] |= nothing
    text = parse_sections(segmentation_scores(scores)).text
    assert text.count("null") == 6 and "0.0" not in text and "not scored: no annotated pixel in 3 frames" in text
    text = parse_sections(class_scores(scores, CITYSCAPES)).text
    assert text.count("null") == 3 and "nan" not in text.lower()
