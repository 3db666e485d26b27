"""Checkpoints: round trip, which are kept, other architectures, damage, incomplete saves of a killed process."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdeseg_jax.training.checkpoints import CheckpointError, Checkpoints, DamagedCheckpointError
from sdeseg_jax.training.initialization import initialize_from, load_variables, replace_part
from sdeseg_jax.training.replication import place, replicate
from sdeseg_jax.training.state_comparison import checksums
from sdeseg_jax.training.train_state import create_state

NETWORK = ("params", "batch_stats")


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
        with pytest.raises(CheckpointError, match="/1 has no teacher; use --config.evaluation.network=student"):
            checkpoints.restore_variables("teacher")
        assert checkpoints.restore(make_state(teacher=False)).teacher_params == {}


def test_the_latest_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(1, 8):
            checkpoints.save(step, {"w": jnp.full(2, step)}, devices=step)
        checkpoints.wait()
        assert sorted(int(path.name) for path in tmp_path.iterdir()) == [6, 7]
        assert checkpoints.latest_step() == 7 and checkpoints.facts(6) == {"devices": 6}
        np.testing.assert_array_equal(checkpoints.restore({"w": jnp.zeros(2, int)}, 6)["w"], [6, 6])


def test_the_next_steps_do_not_reach_what_is_being_saved(tmp_path):
    """Steps overwrite their donated state while it is still being written to disk."""
    add = replicate(lambda state, batch: (jax.tree.map(lambda x: x + batch["one"][0], state), {}))
    batch = {"one": np.ones(jax.local_device_count(), np.float32)}
    state = place({f"array{number}": np.full((500, 1000), number, np.float32) for number in range(20)})
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(3):
            state, _ = add(state, batch)
            checkpoints.save(step, state)
        state, _ = add(state, batch)
        for step in (1, 2):  # the latest two
            values = checkpoints.restore(state, step)
            assert all(np.all(values[f"array{number}"] == number + step + 1) for number in range(20))


def test_saving_a_step_again_is_no_error(saved):
    with Checkpoints(saved) as checkpoints:
        checkpoints.save(7, make_state(seed=1))
        checkpoints.wait()
        assert_equal(checkpoints.restore(make_state()), make_state())


def test_checkpoint_of_another_width(saved):
    with Checkpoints(saved) as checkpoints, pytest.raises(CheckpointError) as caught:
        checkpoints.restore(make_state(width=5))
    message = str(caught.value)
    assert f"{saved}/7 has another architecture than the config" in message
    kernel = "params.encoder.conv.kernel: (3, 3, 2, 4) in the checkpoint, (3, 3, 2, 5) in the network"
    assert kernel in message and "... and " in message and "another workdir" in message
    assert len(message.splitlines()) <= 9  # only the first of many differences


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


def test_checkpoint_of_another_optimizer(saved):
    state = make_state()
    other = state.replace(opt_state=optax.sgd(1e-3, momentum=0.9).init(state.params))
    with Checkpoints(saved) as checkpoints, pytest.raises(CheckpointError) as caught:
        checkpoints.restore(other)
    message = str(caught.value)
    assert f"{saved}/7 has another optimizer than the config" in message and "Its weights fit" in message
    assert "architecture" not in message


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
    """An interrupted save leaves a folder with a temporary name, or one without Orbax's commit metadata."""
    for name in ("9.orbax-checkpoint-tmp", "9.orbax-checkpoint-tmp-1700000000", "11"):
        (saved / name / "default").mkdir(parents=True)
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.latest_step() == 7
    with Checkpoints(saved, owner=True) as checkpoints:
        assert checkpoints.latest_step() == 7
        assert_equal(checkpoints.restore(make_state(seed=1)), make_state())
        checkpoints.save(9, make_state(seed=2))
        checkpoints.save(11, make_state(seed=3))
        checkpoints.wait()
        assert checkpoints.latest_step() == 11
        assert_equal(checkpoints.restore(make_state(), 11), make_state(seed=3))


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bit(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0b100
    path.write_bytes(bytes(content))


def stored_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def test_damaged_checkpoint(saved):
    (saved / "7" / "default" / "_METADATA").write_text("{")
    with Checkpoints(saved, owner=True) as checkpoints:
        with pytest.raises(
            DamagedCheckpointError, match="/7 is damaged, and no earlier one is intact.*remove .*--job="
        ):
            checkpoints.restore(make_state())
        assert not checkpoints.is_new()  # the training does not silently start over
    (saved / "7.damaged").rename(saved / "7")
    with pytest.raises(DamagedCheckpointError, match="/7 cannot be read.*from the start, remove .*--job="):
        load_variables(saved)


@pytest.mark.parametrize("damage", [cut_off, flip_bit])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before_it(tmp_path, caplog, damage):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, make_state(seed=4))
        checkpoints.save(8, make_state(seed=8))
    largest = max(stored_files(tmp_path / "8"), key=lambda path: path.stat().st_size)
    damage(largest)
    with Checkpoints(tmp_path) as reader, pytest.raises(DamagedCheckpointError, match="from checkpoint 4"):
        reader.restore_variables()  # an earlier checkpoint does not replace the last one of a finished training
    assert {path.name for path in tmp_path.iterdir()} == {"4", "8"}  # readers change nothing
    with Checkpoints(tmp_path, owner=True) as checkpoints:
        assert_equal(checkpoints.restore(make_state()), make_state(seed=4))
        (record,) = caplog.records
        assert f"checkpoint {tmp_path}/8 " in record.message and "it is renamed to 8.damaged" in record.message
        assert checkpoints.latest_step() == 4
        with pytest.raises(DamagedCheckpointError, match="/8 .*--job=.* again: it resumes from checkpoint 4"):
            checkpoints.restore_variables()
        checkpoints.save(8, make_state(seed=8))  # the training has reached this step again
        checkpoints.wait()
        assert_equal(checkpoints.restore(make_state()), make_state(seed=8))
    assert {path.name for path in tmp_path.iterdir()} == {"4", "8"}


def test_damaged_metadata_of_the_newest_checkpoint(tmp_path, caplog):
    """Orbax itself would not open the folder."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, make_state(seed=4))
        checkpoints.save(8, make_state(seed=8))
    metadata = tmp_path / "8" / "_CHECKPOINT_METADATA"
    metadata.write_text(metadata.read_text().replace("performance", "performange"))
    with pytest.raises(DamagedCheckpointError, match="/8 cannot be read.*from checkpoint 4"):
        Checkpoints(tmp_path)
    with Checkpoints(tmp_path, owner=True) as checkpoints:
        assert checkpoints.latest_step() == 4 and f"checkpoint {tmp_path}/8 cannot be read" in caplog.text
        assert_equal(checkpoints.restore(make_state()), make_state(seed=4))
        with pytest.raises(DamagedCheckpointError, match="/8 is damaged or missing.*from checkpoint 4"):
            checkpoints.restore_variables()
        checkpoints.save(8, make_state(seed=8))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_variables().keys() == {"params", "batch_stats"}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "8"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of TensorStore, on its way out
def test_every_damaged_file_is_noticed_or_does_not_matter(tmp_path):
    """After a flipped bit or a missing half in any file, restoring returns the saved state or raises an error."""
    with Checkpoints(tmp_path / "whole") as checkpoints:
        checkpoints.save(3, make_state())
    noticed = 0
    damages = [cut_off, *(functools.partial(flip_bit, place=place) for place in (0.0, 0.3, 0.6, 1.0))]
    for number, path in enumerate(stored_files(tmp_path / "whole" / "3")):
        for kind, damage in enumerate(damages):
            folder = tmp_path / f"{number}_{kind}"
            shutil.copytree(tmp_path / "whole", folder)
            damage(folder / path.relative_to(tmp_path / "whole"))
            try:
                with Checkpoints(folder) as checkpoints:
                    assert_equal(checkpoints.restore(make_state(seed=1)), make_state())
            except CheckpointError:
                noticed += 1
    assert noticed > 5


def test_a_disk_that_cannot_be_read_now_is_no_damage(saved, monkeypatch):
    """The checkpoint is kept, and no other is used instead."""

    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    with Checkpoints(saved, owner=True) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "restore", fail)
        with pytest.raises(CheckpointError, match="/7 cannot be read now: Input/output error. It is kept") as it:
            checkpoints.restore(make_state())
        assert not isinstance(it.value, DamagedCheckpointError)
        monkeypatch.setattr(checkpoints._manager, "restore", lambda *_, **__: jnp.zeros(2**46, jnp.uint8))
        with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED|[Oo]ut of memory"):
            checkpoints.restore(make_state())
        monkeypatch.undo()
        assert_equal(checkpoints.restore(make_state()), make_state())


def test_later_steps_can_be_deleted_and_earlier_ones_saved_after(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(9, {"w": jnp.ones(2)})
        checkpoints.delete_after(4)
        assert checkpoints.steps() == []
        checkpoints.save(5, {"w": jnp.ones(2)})
        assert checkpoints.steps() == [5]


def test_checksums_tell_values_names_and_types_apart(saved):
    state = make_state()
    found = checksums(state)
    assert set(found) == {"step", "opt_state", "reference", *(f"{t}{n}" for t in ("", "teacher_") for n in NETWORK)}
    other = checksums(make_state(seed=1))
    assert {name for name in found if found[name] != other[name]} >= {"params", "batch_stats", "teacher_params"}
    bits = jax.tree.map(lambda x: x, state.params)
    bits["pose"]["bias"] = bits["pose"]["bias"].at[3].set(jnp.nextafter(bits["pose"]["bias"][3], 9.0))
    assert checksums({"params": bits}) != checksums({"params": state.params})
    assert checksums({"a": {"x": jnp.ones(2)}}) != checksums({"a": {"y": jnp.ones(2)}})
    assert checksums({"a": jnp.zeros(4)}) != checksums({"a": jnp.zeros((2, 2))})
    assert checksums({"a": jnp.zeros(4)}) != checksums({"a": jnp.zeros(4, jnp.int32)})
    assert checksums({"a": {}}) == {}


def test_checkpoint_without_checksums(saved):
    """Earlier versions saved none."""
    path = saved / "7" / "_CHECKPOINT_METADATA"
    content = json.loads(path.read_text())
    content["custom_metadata"] = {}
    path.write_text(json.dumps(content))
    with Checkpoints(saved) as checkpoints:
        assert_equal(checkpoints.restore(make_state(seed=1)), make_state())
        assert checkpoints.facts(7) == {}


def test_full_disk(tmp_path, small_disk):
    """Earlier checkpoints are kept; the message names them and says what is wrong."""
    rng = np.random.default_rng(0)
    large = {"params": {"w": jnp.asarray(rng.normal(size=100_000), jnp.float32)}}  # 0.4 MB that do not compress
    with pytest.raises(CheckpointError) as caught, Checkpoints(small_disk / "checkpoints", keep=9) as checkpoints:
        for step in range(1, 9):
            checkpoints.save(step, large)
            checkpoints.wait()
    message = str(caught.value)
    kept = ", ".join(map(str, range(1, step)))
    assert f"checkpoints: the disk is full. Earlier checkpoints are kept ({kept}). " in message
    assert "run the same command" in message
    with Checkpoints(small_disk / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == step - 1
        assert_equal(checkpoints.restore(large), large)


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
