"""Traces of a few steps of the loop."""

from tests.training.test_training_loop import train


def traces(folder):
    return list((folder / "profile").rglob("*.xplane.pb"))


def test_trace_of_some_steps(tmp_path, caplog):
    train(tmp_path, steps=4, profile=(1, 3))
    [trace] = traces(tmp_path)
    assert trace.stat().st_size > 0
    with caplog.at_level("WARNING"):
        train(tmp_path, steps=6, profile=(1, 3))  # these steps were run before
    assert "no trace is written, since this call runs steps 4 to 6" in caplog.text and len(traces(tmp_path)) == 1


def test_no_trace_beyond_the_end(tmp_path, caplog):
    train(tmp_path, steps=4, profile=(3, 9))
    assert "config.profile = (3, 9): no trace" in caplog.text and not traces(tmp_path)
