"""The wheel, installed into an empty environment: command, configs, API; and the core without the extras."""

import os
import pathlib
import re
import site
import subprocess
import sys
import tomllib
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

EXTRAS = "tensorflow tensorflow_datasets array_record av tqdm onnx onnxruntime matplotlib clu tensorboard".split()

CORE = """
import jax.numpy as jnp, numpy as np, pathlib, sys
import sdeseg_jax
from sdeseg_jax.depth import warp
from sdeseg_jax.mixing import depthmix
from sdeseg_jax.selection import select_frames
assert "site-packages" in sdeseg_jax.__file__ and not {"tensorflow", "av", "matplotlib"} & {*sys.modules}
eye = jnp.eye(3)[None].at[0, :2, 2].set(2.0)
image = jnp.arange(25.0).reshape(1, 5, 5, 1)
np.testing.assert_allclose(warp(image, jnp.ones((1, 5, 5, 1)), jnp.eye(4)[None], eye), image, atol=1e-5)
mixed = depthmix(np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4), int), np.random.default_rng(0).uniform(size=(2, 4, 4)))
assert mixed.label.shape == (2, 4, 4)
assert select_frames(np.array([[0.0], [1.0], [5.0]]), 1, existing=[0]).tolist() == [2]
model = sdeseg_jax.load(sys.argv[1])
found = model.predict([np.full((32, 64, 3), 90, np.uint8), np.full((50, 40, 3), 90, np.uint8)])
np.save(sys.argv[2], found.labels[0])
print("done", len(model.classes), found.disparity[1].shape)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (path,) = folder.glob("sdeseg_jax-*.whl")
    return path


def make_environment(folder, wheel, others):
    """Makes an environment with the wheel, which finds what the wheel needs in `others`, but not this checkout."""
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(packages)
    (packages / "others.pth").write_text("\n".join(map(str, others)))  # .pth files in these are not followed
    return folder


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An environment with all packages that these tests have."""
    return make_environment(tmp_path_factory.mktemp("environment"), wheel, site.getsitepackages())


@pytest.fixture(scope="module")
def core(wheel, tmp_path_factory):
    """An environment without the packages of the extras."""
    others = tmp_path_factory.mktemp("others")
    for folder in map(pathlib.Path, site.getsitepackages()):
        for path in folder.iterdir():
            if path.name.partition(".")[0] not in EXTRAS and not (others / path.name).exists():
                (others / path.name).symlink_to(path)
    return make_environment(tmp_path_factory.mktemp("core"), wheel, [others])


def run(environment, *command, cwd):
    settings = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    command = [environment / "bin" / "python", *command]
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=600)


def test_wheel_has_everything_once(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    configs = {f"sdeseg_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "sdeseg_jax").rglob("*.py")} - {"sdeseg_jax/configs.py"}
    assert {name for name in names if name.endswith(".py")} == configs | modules
    assert not [name for name in names if name.startswith(("tests", "scripts", "configs"))]
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    assert b"sdeseg = sdeseg_jax.commands.cli:main" in zipfile.ZipFile(wheel).read(entry)


def test_run_predict_and_the_core_from_another_folder(environment, core, tmp_path):
    """One tiny run with the command; its labels by the command, and by the core without the extras, are equal."""
    import numpy as np
    from PIL import Image

    settings = ["--config.runtime.tensorboard=False", "--config.data.data_dir=data"]
    trained = run(
        environment,
        "-m",
        "sdeseg_jax",
        "run",
        "--config=streets:size=tiny",
        "--workdir=runs/a",
        *settings,
        cwd=tmp_path,
    )
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert (tmp_path / "runs/a/report/index.html").exists() and "mIoU" in trained.stdout
    Image.new("RGB", (64, 32), (90, 90, 90)).save(tmp_path / "grey.png")
    arguments = ["--workdir=runs/a", "--input=grey.png", "--output=out"]
    predicted = run(environment, "-m", "sdeseg_jax", "predict", *arguments, cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr[-3000:]
    used = run(core, "-c", CORE, "runs/a", "labels.npy", cwd=tmp_path)
    assert used.returncode == 0 and used.stdout == "done 19 (50, 40)\n", used.stderr[-3000:]
    label = np.asarray(Image.open(tmp_path / "out/labels/grey.png"))
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), label)


def names(requirements):
    return {re.split(r"[<>=\[; ]", one)[0].lower().replace("_", "-"): one for one in requirements}


def test_requirements_are_the_core_and_the_extras_together():
    extras = PROJECT["optional-dependencies"]
    parts = [*extras["data"], *extras["export"], *extras["report"], *extras["pretrained"]]
    everything = [*PROJECT["dependencies"], *parts]
    listed = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert listed == everything or sorted(listed) == sorted(everything)
    assert set(extras) == {"data", "export", "report", "pretrained", "all", "cuda", "tpu", "dev"}
    installed = set(names(parts))
    assert {name.replace("_", "-") for name in EXTRAS} <= installed | {"tensorflow"}
