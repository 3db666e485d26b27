"""A short soak test: a pipeline that is killed twice. Damaged files and differing results would be found."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from scripts import soak
from sdeseg_jax.storage.atomic_files import atomic_write
from tests.compilation import CACHE, QUICK

STAGES = ("pretrain_depth", "estimate_depth")


def test_killed_pipeline_ends_like_an_undisturbed_one(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", QUICK)
    config = f"{soak.ROOT / 'configs/streets.py'}:size=tiny"
    overrides = [f"--config.pipeline.stages={STAGES!r}", "--config.runtime.tensorboard=False"]
    overrides += [f"--config.runtime.compilation_cache={CACHE}"]
    assert soak.soak(tmp_path / "soak", kills=2, seed=1, config=config, overrides=overrides) == []
    logs = [path.read_text(errors="replace") for path in tmp_path.glob("soak/killed_*/log.txt")]
    assert logs and not any("Traceback" in log for log in logs)


@pytest.fixture
def run(tmp_path):
    run = soak.Run(tmp_path / "a", "config.py", [])
    (run.workdir / "disparity/train").mkdir(parents=True)
    return run


def test_half_written_files_are_found(run):
    atomic_write(run.workdir / "metrics.json", json.dumps({"miou": 1.0, "seconds": {"train": 3}}))
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(run.workdir / "disparity/train/a.png")
    (run.workdir / "segmentation/checkpoints/4.orbax-checkpoint-tmp").mkdir(parents=True)
    (run.workdir / "segmentation/checkpoints/4.orbax-checkpoint-tmp/x.json").write_text("{")
    assert list(soak.half_written(run)) == []
    for name, content in (
        ("metrics.json", b'{"miou": 1'),
        ("disparity/train/a.png", b"\x89PNG"),
        ("a.html", b"<html>"),
    ):
        (run.workdir / name).write_bytes(content)
    found = {pathlib.Path(one.split(": ")[0]).name for one in soak.half_written(run)}
    assert found == {"metrics.json", "a.png", "a.html"}


def test_differences_are_found_but_times_do_not_count(run):
    atomic_write(run.workdir / "metrics.json", json.dumps({"miou": 1.0, "seconds": {"train": 3}}))
    expected = soak.results(run)
    assert expected == {"metrics.json": {"miou": 1.0}}
    atomic_write(run.workdir / "metrics.json", json.dumps({"miou": 1.0, "seconds": {"train": 4}}))
    assert soak.compare(expected, soak.results(run), "run") == []
    atomic_write(run.workdir / "disparity/train/a.png", b"1")
    (line,) = soak.compare(expected, soak.results(run), "run")
    assert line.startswith("run: 1 of 2 results differ, e.g. ['disparity/train/a.png']")
