"""The warnings of the report."""

import numpy as np
import pytest

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.report.report_warnings import alarm_notices, score_notices
from sdeseg_jax.training.collapse_alarms import ALARMS

VARIATION = "disparity/spatial_variation"


@pytest.mark.parametrize(
    "values, expected",
    [
        ((0.3, 0.2, 0.1), None),
        ((0.01, 0.2, 0.1), None),  # at the first steps, weights are still random
        ((0.3, 0.02, 0.1), "at times, last at step 200, not at the end"),
        ((0.3, 0.04, 0.02), "0.020 at worst, bound 0.05; from step 200 to the end"),
    ],
)
def test_collapse_of_depth(values, expected):
    log = {VARIATION: list(zip((50, 200, 300), values, strict=True))}
    notices = alarm_notices({"depth": log}, ALARMS)
    assert len(notices) == (expected is not None)
    if expected:
        assert notices[0].startswith("depth: disparity is nearly constant") and expected in notices[0]
        assert ("learning_rate" in notices[0]) == ("to the end" in expected)  # advice


def test_short_trainings_and_skipped_steps():
    logs = {"baseline": {"loss/total": [(4, 1.0)]}, "method": {"skipped": [(200, 2.0), (400, 1.0)]}, "depth": {}}
    notices = alarm_notices(logs, ALARMS)
    assert len(notices) == 2 and "baseline for 4 steps" in notices[0] and notices[1].startswith("method: 3 steps")


def test_nothing_to_say():
    good = {"protocol": "cityscapes-19", "images": 500, "iou": dict.fromkeys(CITYSCAPES.names, 50.0)}
    metrics = {"baseline": good | {"miou": 50.0}, "method": good | {"miou": 50.0}}
    metrics["depth"] = {"images": 500, "abs_rel": 0.1, "prior_abs_rel": 0.2}
    assert score_notices(metrics, CITYSCAPES) == [] == score_notices({}, None)


def test_odd_scores(scores):
    counts = np.ones((19, 19), int)
    counts[[17, 16]] = 0  # no motorcycle and no train in the labels, ...
    counts[:, 16] = 0  # ... nor a train in what the method predicts
    scores["method"] |= {"confusion": counts.tolist(), "miou": 19.0}
    scores["method"]["iou"]["motorcycle"] = 0.0
    scores["baseline"]["iou"]["train"] = 0.0
    scores["depth"]["abs_rel"] = 0.3
    scores["video"] = {"photometric": 0.2, "identity": 0.2, "frames": 80}
    notices = score_notices(scores, CITYSCAPES)
    for expected in (
        "depth on 3, segmentation on 3",
        "No scored pixel is labelled as train, motorcycle",
        "19 (baseline) and 18 (method)",
        "1.0 points of mIoU less",
        "abs rel 0.300 against 0.250",
        "does not lower",
    ):
        assert sum(expected in notice for notice in notices) == 1, expected
    assert len(notices) == 6
    scores["baseline"]["iou"]["train"] = None
    assert "labelled or predicted as train: " in score_notices(scores, CITYSCAPES)[1]


def test_what_could_not_be_scored_and_one_class_alone(scores):
    for name in ("baseline", "method"):
        scores[name] |= {"annotated_images": 2, "labelled_classes": 1}
    notices = score_notices(scores, CITYSCAPES)
    assert "1 of 3 labels have no annotated pixel." in notices
    assert any(
        "are of one class: a network that predicts it everywhere scores an mIoU of 100" in one for one in notices
    )
    for name in ("baseline", "method"):
        scores[name] |= {"annotated_images": 0, "miou": None, "iou": dict.fromkeys(CITYSCAPES.names)}
    notices = score_notices(scores, CITYSCAPES)
    assert any(one.startswith("Segmentation is not scored: no annotated pixel in 3 frames") for one in notices)
