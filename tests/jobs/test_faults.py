"""Faults around a run rather than in its config: two processes, disks, devices, data that vanishes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sdeseg_jax.config import UserError
from sdeseg_jax.data.frame_dataset import ReadError
from sdeseg_jax.data.input_pipeline import evaluation_batches, training_batches
from sdeseg_jax.data.sample_order_and_crops import Stream
from sdeseg_jax.jobs import load_job
from sdeseg_jax.runs import disk_space, open_datasets
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import Workdir, disk_error
from sdeseg_jax.storage.disk_errors import disk_problem
from sdeseg_jax.training.checkpoints import CheckpointError, Checkpoints
from sdeseg_jax.training.metrics_log import MetricsLog
from sdeseg_jax.training.stop_signals import STOPPED
from tests.compilation import CACHE
from tests.test_main import ROOT, STREETS, assert_short_error, command
from tests.training.test_multi_host import free_port


def test_a_second_process_in_a_workdir_is_refused(tmp_path):
    with Workdir(tmp_path / "run").locked():
        message = rf"--workdir={tmp_path}/run is in use by process {os.getpid()} on .*, since 20.*another folder"
        with pytest.raises(UserError, match=message), Workdir(tmp_path / "run").locked():
            pytest.fail("both run")
        result = command(STREETS + ":size=tiny", f"--workdir={tmp_path / 'run'}", "--job=train")
        assert_short_error(result, f"is in use by process {os.getpid()}")
    with Workdir(tmp_path / "run").locked():  # the lock went with its holder
        pass


def test_what_killed_processes_left_half_written_is_removed(tmp_path):
    leftovers = (
        "depth/stage.json.tmp",
        "disparity/train/a.tmp",
        "selection/4.tmp/x.png",
        "segmentation/geometry/a.npy.1f.tmp",
        "depth/checkpoints/9.orbax-checkpoint-tmp/default/x",
        "selection/students/2/scores.tmp.npy",
    )
    kept = ("depth/stage.json", "depth/checkpoints/4/default/x", "disparity/train/a.png", "notes.tmp", "own/a.tmp")
    for name in (*leftovers, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    with Workdir(tmp_path).locked():
        files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {*kept, ".lock"}
    assert not (tmp_path / "selection/4.tmp").exists()


def test_workdir_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("")
    for place in ("run", "run/inner"):
        with pytest.raises(UserError, match=f"--workdir={tmp_path}/{place} is not a folder"):
            with Workdir(tmp_path / place).locked():
                pass


def test_workdir_on_a_disk_that_is_read_only(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    result = command(STREETS + ":size=tiny", f"--workdir={small_disk / 'run'}", "--job=train")
    assert_short_error(result, f"{small_disk}/run: the disk is read-only")


def test_disk_that_fills_up_in_a_training(make_config, small_disk, monkeypatch):
    monkeypatch.setattr(disk_space, "AMPLE", 0)
    with pytest.raises(CheckpointError, match="depth/checkpoints: the disk is full.* run the same command again"):
        load_job("pretrain_depth")(make_config(depth__steps=40), Workdir(small_disk))
    with Checkpoints(small_disk / "depth/checkpoints") as checkpoints:
        for step in checkpoints.steps():  # what is there is whole
            checkpoints.restore_variables(step=step)


def test_errors_of_the_disk_and_others():
    workdir = Workdir("/run")
    assert disk_error(OSError(28, "No space left on device", "/run/a"), workdir).startswith(
        "/run/a: the disk is full. "
    )
    assert "permission is denied" in disk_error(PermissionError(13, "Permission denied", "/x"), workdir)
    assert disk_error(ConnectionResetError("gone"), workdir) is None
    wrapped = ValueError("cannot write")
    wrapped.__cause__ = OSError(30, "Read-only file system")
    assert disk_problem(wrapped) == "the disk is read-only"


def test_device_that_there_is_not(tmp_path):
    for how in (["--platform=cuda"], ["--platform=gpux"]):
        result = command(STREETS + ":size=tiny", f"--workdir={tmp_path}", "--job=train", *how)
        assert_short_error(result, f"{how[0]}: the device does not exist, or JAX was installed without support for it")


def test_main_saves_and_stops_on_request(tmp_path):
    """The command itself, as the only host, because JAX handles SIGTERM on its own there."""
    hosts = ["--hosts=1", "--host=0", f"--coordinator=localhost:{free_port()}"]
    settings = {"runtime.compilation_cache": CACHE, "data.data_dir": tmp_path / "data", "depth.batch_size": 4}
    settings |= {"depth.steps": 100_000, "runtime.checkpoint_every": 100_000}
    arguments = [STREETS + ":size=tiny", f"--workdir={tmp_path / 'run'}", "--job=pretrain_depth", *hosts]
    arguments += [f"--config.{key}={value}" for key, value in settings.items()]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "sdeseg_jax.main", *arguments], cwd=ROOT, stdout=file, stderr=file
        )
    try:
        end = time.monotonic() + 300
        while "depth: 4/" not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == STOPPED, log.read_text()
    finally:
        process.kill()
    output = log.read_text()
    with Checkpoints(tmp_path / "run/depth/checkpoints") as checkpoints:
        (step,) = checkpoints.steps()
    assert f"depth: stopped after step {step} of 100000, which is saved. The same command resumes." in output
    assert "Traceback" not in output
    record = json.loads((tmp_path / "run/depth/stage.json").read_text())
    assert not record["finished"] and record["seconds"] > 0
    with Workdir(tmp_path / "run").locked():  # the lock is released
        pass


@pytest.fixture
def own_data(data_dir, make_config, tmp_path):
    """The tiny dataset, in a folder of its own: (config, folder of its records)."""
    load_job("dataset")(make_config(), Workdir(tmp_path / "any", make_config()))
    shutil.copytree(data_dir, tmp_path / "data")
    config = make_config(data__data_dir=str(tmp_path / "data"))
    return config, open_datasets.open_training(config).folder


def test_records_that_vanish_in_a_run_are_named(own_data, tmp_path):
    config, folder = own_data
    dataset = open_datasets.open_training(config)
    stream = Stream(dataset, dataset.index.with_neighbours, 2, ("image",), salt=1)
    batches = training_batches({"video": stream}, config.data.crop, True, 0)
    next(batches)
    for path in folder.glob("*train*"):
        path.write_bytes(b"")  # of a deleted file, what is open stays readable; this is what a broken disk looks like
    with pytest.raises(ReadError, match=f"(?s)remove {folder}, and --job=dataset.* same command resumes"):
        for _ in range(1000):
            next(batches)


def test_records_that_are_gone_before_a_run(own_data, tmp_path):
    config, folder = own_data
    for path in folder.glob("*train*"):
        path.unlink()
    with pytest.raises(UserError, match=f"config.data.train_split: .* is missing or empty; remove {folder}, and"):
        open_datasets.open_training(config)


def test_disparity_that_vanishes_in_a_run_is_named(make_config, tmp_path, train_disparities):
    config, folder = make_config(), train_disparities.folder
    dataset = open_datasets.open_training(config)
    stream = Stream(dataset, dataset.index.targets, 2, ("image", "disparity"), disparities=train_disparities)
    batches = training_batches({"pool": stream}, config.data.crop, True, 0)
    next(batches)
    shutil.rmtree(folder)
    with pytest.raises(ReadError, match=f"(?s){folder}.*No such file or directory.*--job=estimate_depth"):
        for _ in range(1000):
            next(batches)


def test_disparity_that_is_cut_off_is_made_again(make_config, train_disparities):
    """`estimate_depth` writes what is missing; trainings name it before they begin, or when they read it."""
    dataset = open_datasets.open_training(make_config())
    ids = [dataset.index.ids[i] for i in dataset.index.targets]
    assert train_disparities.missing(ids) == [] and train_disparities.damaged() == []
    path = train_disparities.path(ids[5])
    path.write_bytes(path.read_bytes()[:-9])
    assert train_disparities.missing(ids) == [ids[5]] and train_disparities.damaged() == [path]
    batches = evaluation_batches(dataset, [5], 1, ("image", "disparity"), train_disparities)
    with pytest.raises(ReadError, match=f"remove {path} .1 such files., and --job=estimate_depth"):
        list(batches)


@pytest.mark.parametrize("damage", ["empty", "cut off"])
def test_records_that_are_damaged_before_a_run(own_data, damage):
    config, folder = own_data
    (path,) = folder.glob("*train*")
    path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 5000])
    with pytest.raises(UserError, match=f"config.data.train_split: .*{path}.*; remove {folder}, and --job=dataset"):
        open_datasets.open_training(config)


def test_full_disk_under_tensorboard(small_disk):
    """Its writer works in a thread, and raises errors of its own classes."""
    with pytest.raises(OSError) as caught, MetricsLog(small_disk, tensorboard=True) as log:
        (small_disk / "filler").write_bytes(b"0" * (shutil.disk_usage(small_disk).free // 4096 * 4096))
        for step in range(20_000):
            log.write(step, {"loss/total": 1.0})
    assert "the disk is full" in disk_error(caught.value, Workdir(small_disk))


@pytest.fixture
def train_disparities(make_config, tmp_path):
    from sdeseg_jax.data.disparity_maps import DisparityFolder

    dataset, folder = open_datasets.open_training(make_config()), DisparityFolder(tmp_path / "disparity", "train")
    for name in dataset.index.ids:
        folder.write(name, np.zeros((32, 64, 1), np.float32))
    return folder


def test_config_is_saved_with_the_run(make_config, tmp_path):
    Workdir(tmp_path).save_config(make_config())
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["config"]["segmentation"]["batch_size"] == 4 and saved["config"]["data"]["crop"] == [32, 64]
    assert saved["devices"] == 4 and "jax" in saved["versions"] and saved["command"].startswith("python -m sdeseg_jax")


def test_write_json_leaves_the_old_file_where_there_is_no_room(small_disk):
    write_json(small_disk / "a.json", {"old": 1})
    with pytest.raises(OSError):
        write_json(small_disk / "a.json", {"new": "x" * 3_000_000})
    assert json.loads((small_disk / "a.json").read_text()) == {"old": 1}
    assert [path.name for path in small_disk.iterdir()] == ["a.json"]
