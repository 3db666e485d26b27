"""Silent failures are measured, the same on any number of devices, and warned about."""

import ast
import pathlib

import jax
import numpy as np
import pytest

from sdeseg_jax.configs import streets
from sdeseg_jax.training import collapse_alarms
from sdeseg_jax.training.depth_objective import collapse_metrics
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.segmentation_objective import pseudo_label_metrics


def over(devices, function, batch):
    """The function's metrics on a batch that is split among devices, averaged as a step does it."""
    mapped = jax.pmap(lambda x: jax.lax.pmean(function(x), AXIS), axis_name=AXIS, devices=jax.local_devices()[:devices])
    out = mapped(batch.reshape(devices, -1, *batch.shape[1:]))
    return {name: float(value[0]) for name, value in out.items()}


RAMP = np.broadcast_to(np.linspace(0.1, 0.5, 16, dtype=np.float32)[:, None, None], (16, 32, 1))
PICTURES = np.random.default_rng(0).uniform(0.1, 0.9, (4, 16, 32, 1)).astype(np.float32)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_collapse_is_measured_over_the_whole_batch(devices):
    healthy = over(devices, collapse_metrics, PICTURES)
    assert healthy == pytest.approx(over(1, collapse_metrics, PICTURES), rel=1e-5)
    expected = np.mean(np.std(PICTURES, axis=0)) / np.mean(PICTURES)
    assert healthy["disparity/picture_dependence"] == pytest.approx(expected, rel=1e-5)
    assert healthy["disparity/spatial_variation"] > 0.3
    constant = over(devices, collapse_metrics, np.full((4, 16, 32, 1), 0.3, np.float32))
    assert constant["disparity/spatial_variation"] < 1e-5 and constant["disparity/picture_dependence"] < 1e-5
    ramp = over(devices, collapse_metrics, np.stack([RAMP] * 4))
    assert ramp["disparity/spatial_variation"] > 0.3 and ramp["disparity/picture_dependence"] < 1e-5


def test_one_picture_says_nothing_about_others():
    assert set(over(1, collapse_metrics, PICTURES[:1])) == {"disparity/mean", "disparity/spatial_variation"}


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_share_of_the_class_that_the_teacher_chooses_most(devices):
    logits = np.zeros((4, 8, 8, 5), np.float32)
    logits[..., 1] = 2.0
    logits[0, ..., 3] = logits[1, :4, :, 4] = 9.0  # a device that sees one picture sees one class
    metrics = over(devices, pseudo_label_metrics, logits)
    assert metrics["pseudo_label/largest_class"] == pytest.approx((4 + 8 + 8) / 32)
    assert 0.6 < metrics["pseudo_label/confidence"] < 1
    logits[0, 0, 0, 0] = np.nan
    assert np.isnan(over(devices, pseudo_label_metrics, logits)["pseudo_label/confidence"])


GOOD = {
    "disparity/spatial_variation": 0.5,
    "disparity/picture_dependence": 0.4,
    "pseudo_label/largest_class": 0.4,
    "input_wait_share": 0.0,
}


def good(**changes):
    return GOOD | changes


def test_alarms_warn_once_as_long_as_they_ring(caplog):
    alarm = collapse_alarms.AlarmLog(total=1000)
    for step, variation in ((100, 0.01), (200, 0.5), (300, 0.01), (400, 0.02), (500, 0.5), (600, 0.03)):
        alarm(step, good(**{"disparity/spatial_variation": variation}))
    messages = [record.message for record in caplog.records]
    assert [message.partition(":")[0] for message in messages] == ["step 300", "step 600"]
    assert "(disparity/spatial_variation = 0.010 < 0.05)" in messages[0] and "config.depth.learning_rate" in messages[0]


def test_collapse_names_the_prior_that_small_networks_have(caplog):
    """The flags have the values of the small Streets network, and the README quotes them."""
    flags = dict(flag.split("=") for flag in collapse_alarms.FORWARD_MOTION_PRIOR.split())
    model = streets.get_config("encoder=resnet18_quarter").model
    assert {key: ast.literal_eval(value) for key, value in flags.items()} == {
        f"--config.model.{name}": model[name]
        for name in ("disparity_bias", "pose_rotation_scale", "pose_translation_bias")
    }
    collapse_alarms.AlarmLog(total=1000)(600, good(**{"disparity/spatial_variation": 0.01}))
    assert f"({collapse_alarms.FORWARD_MOTION_PRIOR})" in caplog.text
    readme = pathlib.Path(__file__).parents[2] / "README.md"
    assert f"`{collapse_alarms.FORWARD_MOTION_PRIOR}`" in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "metric, value, what",
    [
        ("disparity/picture_dependence", 0.01, "nearly the same for every image"),
        ("pseudo_label/largest_class", 0.95, "pseudo-labels may have collapsed"),
        ("pseudo_label/quality", 0.02, "lower config.segmentation.confidence_threshold"),
        (
            "input_wait_share",
            0.6,
            "waiting for data (input_wait_share = 0.600 > 0.3). If CPUs are idle, raise config.runtime.reader",
        ),
    ],
)
def test_what_is_watched(caplog, metric, value, what):
    collapse_alarms.AlarmLog(total=1000)(600, good(**{metric: value}))
    assert what in caplog.text and len(caplog.records) == 1


def test_pseudo_labels_may_have_one_class_and_low_confidence_at_the_start(caplog):
    collapse_alarms.AlarmLog(total=1000)(200, good(**{"pseudo_label/largest_class": 1.0}))
    collapse_alarms.AlarmLog(total=1000)(400, {"pseudo_label/quality": 0.01})  # a teacher that is not confident yet
    collapse_alarms.AlarmLog(total=1000)(400, {"loss/total": 1.0})  # a training without any of these
    assert not caplog.records


def test_lasting_collapse_stops_on_request():
    alarm = collapse_alarms.AlarmLog(total=1000, stop_on_collapse=True)
    bad = good(**{"disparity/spatial_variation": 0.01})
    for step, metrics in ((200, bad), (300, bad), (400, good()), (500, bad), (600, bad)):
        alarm(step, metrics)
    with pytest.raises(collapse_alarms.CollapseError, match="step 700: .*stop_on_collapse; its checkpoints are"):
        alarm(700, bad)
    other = collapse_alarms.AlarmLog(total=1000, stop_on_collapse=True)
    for step in range(200, 900, 100):
        other(step, good(input_wait_share=0.9))
