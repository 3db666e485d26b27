"""Checkpoints: equality, what is kept, other architectures, halves that a killed process leaves behind."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdeseg_jax.training.checkpoints import CheckpointError, Checkpoints
from sdeseg_jax.training.initialization import initialize_from, load_variables, replace_part
from sdeseg_jax.training.state import create_state


def make_state(width=4, seed=0, teacher=True, extra=None):
    """A state with every kind of leaf; teacher and student differ."""
    rng = np.random.default_rng(seed)
    array = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    variables = {
        "params": {"encoder": {"conv": {"kernel": array(3, 3, 2, width)}}, "pose": {"bias": array(6)}, **(extra or {})},
        "batch_stats": {"encoder": {"norm": {"mean": array(width), "var": array(width)}}},
    }
    state = create_state(variables, optax.adam(1e-3), teacher, reference={"params": {"a": array(2)}})
    if teacher:
        state = state.replace(teacher_params=jax.tree.map(lambda x: x + 1, state.params))
    return state.replace(step=jnp.int32(7))


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@pytest.fixture
def saved(tmp_path):
    """Folder with one checkpoint, of step 7, of `make_state()`."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(7, make_state())
    return tmp_path / "checkpoints"


def test_everything_comes_back(saved):
    with Checkpoints(saved) as checkpoints:
        assert_equal(checkpoints.restore(make_state(seed=1)), make_state())


def test_variables_of_student_and_teacher(saved):
    state = make_state()
    with Checkpoints(saved) as checkpoints:
        student, teacher = checkpoints.restore_variables(), checkpoints.restore_variables("teacher")
    assert set(student) == {"params", "batch_stats"}
    assert_equal(student, {"params": state.params, "batch_stats": state.batch_stats})
    assert_equal(teacher, {"params": state.teacher_params, "batch_stats": state.teacher_batch_stats})
    assert isinstance(jax.tree.leaves(student)[0], np.ndarray)
    assert_equal(load_variables(saved), student)


def test_no_teacher(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(teacher=False))
        checkpoints.wait()
        with pytest.raises(CheckpointError, match="/1 has no teacher; set config.evaluation.network"):
            checkpoints.restore_variables("teacher")
        assert checkpoints.restore(make_state(teacher=False)).teacher_params == {}


def test_latest_and_best_are_kept(tmp_path):
    scores = {2: 0.7, 4: 0.9, 5: 0.2}
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(1, 8):
            checkpoints.save(step, {"w": jnp.full(2, step)}, scores.get(step))
        checkpoints.wait()
        assert sorted(int(path.name) for path in tmp_path.iterdir()) == [4, 6, 7]
        assert checkpoints.latest_step() == 7
        np.testing.assert_array_equal(checkpoints.restore({"w": jnp.zeros(2, int)}, 4)["w"], [4, 4])


def test_best_is_still_known_after_a_restart(tmp_path):
    for steps, scores in (((1, 2, 3), {1: 0.9, 2: 0.1}), ((4, 5, 6), {4: 0.5})):
        with Checkpoints(tmp_path, keep=1) as checkpoints:
            for step in steps:
                checkpoints.save(step, {"w": jnp.zeros(2)}, scores.get(step))
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [1, 6]


def test_saving_a_step_again_is_no_error(saved):
    with Checkpoints(saved) as checkpoints:
        checkpoints.save(7, make_state(seed=1))
        checkpoints.wait()
        assert_equal(checkpoints.restore(make_state()), make_state())


def test_checkpoint_of_another_width(saved):
    with Checkpoints(saved) as checkpoints, pytest.raises(CheckpointError) as caught:
        checkpoints.restore(make_state(width=5))
    message = str(caught.value)
    assert f"{saved}/7 is of another architecture than the config describes" in message
    kernel = "params.encoder.conv.kernel: (3, 3, 2, 4) in the checkpoint, (3, 3, 2, 5) in the network"
    assert kernel in message and "... and " in message and "another workdir" in message
    assert len(message.splitlines()) <= 9  # of many differences, the first


def test_checkpoint_with_other_parts(saved):
    extra = {"segmentation_decoder": {"bias": jnp.zeros(3)}}
    with Checkpoints(saved) as checkpoints, pytest.raises(CheckpointError) as caught:
        checkpoints.restore(make_state(extra=extra))
    assert "params.segmentation_decoder.bias: in the network, not in the checkpoint" in str(caught.value)
    with Checkpoints(saved.parent / "other") as checkpoints:
        checkpoints.save(1, make_state(extra=extra))
        checkpoints.wait()
        with pytest.raises(CheckpointError, match="segmentation_decoder.bias: in the checkpoint, not in the network"):
            checkpoints.restore(make_state())


def test_no_checkpoint(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() is None
        with pytest.raises(CheckpointError, match=f"no checkpoint in {tmp_path}"):
            checkpoints.restore(make_state())
    with pytest.raises(CheckpointError, match=f"no checkpoint in {tmp_path}"):
        load_variables(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint folder at .*nowhere"):
        load_variables(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_half_written_checkpoints_do_not_count(saved):
    """A save that was cut off leaves a folder under a temporary name, or one without Orbax's commit metadata."""
    for name in ("9.orbax-checkpoint-tmp", "9.orbax-checkpoint-tmp-1700000000", "11"):
        (saved / name / "default").mkdir(parents=True)
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.latest_step() == 7
        assert_equal(checkpoints.restore(make_state(seed=1)), make_state())
        checkpoints.save(9, make_state(seed=2))
        checkpoints.save(11, make_state(seed=3))
        checkpoints.wait()
        assert checkpoints.latest_step() == 11
        assert_equal(checkpoints.restore(make_state(), 11), make_state(seed=3))


def test_damaged_checkpoint(saved):
    (saved / "7" / "default" / "_METADATA").write_text("{")
    with Checkpoints(saved) as checkpoints, pytest.raises(CheckpointError, match="/7 cannot be read"):
        checkpoints.restore(make_state())


def test_parts_from_a_checkpoint(saved):
    state, other = make_state(), make_state(seed=1)
    variables = {"params": other.params, "batch_stats": other.batch_stats}
    result = initialize_from(variables, {"encoder": str(saved), "pose": "", "depth_decoder": str(saved)})
    assert_equal(result["params"]["encoder"], state.params["encoder"])
    assert_equal(result["batch_stats"]["encoder"], state.batch_stats["encoder"])
    assert_equal(result["params"]["pose"], other.params["pose"])


def test_part_of_another_architecture(saved):
    wide = make_state(width=5)
    variables = {"params": wide.params, "batch_stats": wide.batch_stats}
    with pytest.raises(CheckpointError) as caught:
        initialize_from(variables, {"encoder": str(saved)})
    assert f"'encoder' of {saved} does not fit the config" in str(caught.value)
    assert "conv.kernel: (3, 3, 2, 4) in the checkpoint, (3, 3, 2, 5) in the network" in str(caught.value)
    with pytest.raises(CheckpointError, match="x has no 'depth_decoder'; it has encoder, pose"):
        replace_part(variables, variables, "depth_decoder", "x")
