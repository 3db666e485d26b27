"""The progress line, the speed, and TensorBoard's files."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from sdeseg_jax.training import progress_line
from sdeseg_jax.training.metrics_log import MetricsLog
from sdeseg_jax.training.progress_line import RECENT, ProgressLine, Speed


@pytest.fixture
def clock(monkeypatch):
    """clock[0] is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now[0])
    return now


def shown(stream):
    """Returns the line shown last."""
    return stream.getvalue().splitlines()[-1]


def test_progress_line_tells_steps_time_and_what_is_left(clock):
    stream = io.StringIO()
    progress = ProgressLine("depth", total=60, first=10, stream=stream)
    progress.show(10, "compiling …")
    assert shown(stream) == "depth: 10/60  0:00  compiling …"
    clock[0] += 100
    progress.restart(11)
    clock[0] += 18
    progress.show(20, "loss 0.5")  # 9 steps took 18 s: the other 40 take 80 s
    assert shown(stream) == "depth: 20/60  1:58, 1:20 left  loss 0.5"
    clock[0] += 1000
    progress.restart(21)
    clock[0] += 10
    progress.show(31)  # what came before a restart does not count
    assert shown(stream) == "depth: 31/60  18:48, 0:29 left"
    clock[0] += 7200
    progress.show(60)
    assert shown(stream) == "depth: 60/60  2:18:48"


def test_time_before_the_first_update_does_not_count(clock):
    stream = io.StringIO()
    progress = ProgressLine("disparity", total=100, stream=stream)
    clock[0] += 500
    progress.show(20)
    assert shown(stream) == "disparity: 20/100  8:20"
    clock[0] += 10
    progress.show(40)
    assert shown(stream) == "disparity: 40/100  8:30, 0:30 left"


def test_time_left_follows_the_latest_intervals(clock):
    stream = io.StringIO()
    progress = ProgressLine("depth", total=10_000, stream=stream)
    for step in range(0, 2000, 100):
        clock[0] += 100
        progress.show(step)
    for step in range(2000, 2000 + 100 * RECENT, 100):
        clock[0] += 10
        progress.show(step)
    # Since the last of the slow updates, at 1900, a step takes 0.1 s.
    assert shown(stream).endswith(f", {progress_line.format_duration((10_000 - step) / 10)} left")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_line_is_rewritten_on_a_terminal_and_never_wraps(monkeypatch):
    stream = Terminal()
    progress = ProgressLine("depth", total=2, stream=stream)
    progress.show(1)
    assert "\n" not in stream.getvalue()
    progress.show(2, "x" * 200)
    assert stream.getvalue().count("\r\x1b[K") == 2 and stream.getvalue().endswith("\n")
    assert len(shown(stream).removeprefix("\x1b[K")) == 119


def test_speed(clock):
    speed = Speed()
    clock[0] += 60
    assert speed.metrics() == {}
    speed.restart()
    for _ in range(4):
        clock[0] += 0.5
        speed.count(images=6, waited=0.1)
    assert speed.metrics() == {"seconds_per_step": 0.5, "input_wait_share": pytest.approx(0.2), "images_per_second": 12}


def events(folder):
    return EventAccumulator(str(folder)).Reload()


def test_tensorboard_reads_the_scalars_of_the_json_lines(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(3, {"loss/total": np.float32(0.1), "images_per_second": 12.5})
        log.write(6, {"loss/total": np.float32(0.05)})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    read = events(tmp_path)
    for name in ("loss/total", "images_per_second"):
        scalars = [(one.step, float(tf.make_ndarray(one.tensor_proto))) for one in read.Tensors(name)]
        assert scalars == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines if name in line]


def test_tensorboard_reads_pictures(tmp_path):
    picture = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    with MetricsLog(tmp_path) as log:
        log.write_pictures(7, {"truth/frame 1": picture})
    read = events(tmp_path)
    assert set(read.PluginTagToContent("images")) == {"truth/frame 1"}
    (event,) = read.Tensors("truth/frame 1")
    width, height, png = tf.make_ndarray(event.tensor_proto)
    assert event.step == 7 and (int(width), int(height)) == (5, 4)
    np.testing.assert_array_equal(tf.io.decode_png(png), picture)


def test_hyperparameters_are_written_once_per_folder(tmp_path):
    for first_step in (0, 4):
        MetricsLog(tmp_path, True, first_step, {"data.crop": (32, 64), "depth.steps": 4, "data.flip": True}).close()
    written = [b"_hparams_/session_start_info" in path.read_bytes() for path in sorted(tmp_path.glob("events.*"))]
    assert written == [True, False]
    stored = events(tmp_path).PluginTagToContent("hparams")["_hparams_/session_start_info"]
    values = HParamsPluginData.FromString(stored).session_start_info.hparams
    assert values["data.crop"].string_value == "(32, 64)" and values["depth.steps"].number_value == 4
    assert values["data.flip"].bool_value is True and len(values) == 3


def test_nothing_for_tensorboard_where_it_is_off(tmp_path):
    with MetricsLog(tmp_path, tensorboard=False, hparams={"seed": 0}) as log:
        log.write(1, {"loss/total": 1.0})
        log.write_pictures(1, {"frame": np.zeros((1, 1, 3), np.uint8)})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
