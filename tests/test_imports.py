"""Geometry, mixing, networks and training import without TensorFlow, rendering also without JAX."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]

FORBID = """
import importlib, importlib.abc, pkgutil, sys

class Forbid(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden}:
            raise ImportError(f"{{name}} is not installed here")

sys.meta_path.insert(0, Forbid())

def import_all(name):
    package = importlib.import_module(name)
    found = [name]
    for module in pkgutil.iter_modules(package.__path__, name + "."):
        found += import_all(module.name) if module.ispkg else [importlib.import_module(module.name).__name__]
    return found
"""


def run_without(forbidden, code):
    code = FORBID.format(forbidden=set(forbidden)) + code
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_jax_parts_import_and_work_without_tensorflow():
    result = run_without(
        ("tensorflow", "tensorflow_datasets", "clu", "array_record"),
        """
parts = ("depth", "mixing", "models", "selection", "training")
found = [name for part in parts for name in import_all("sdeseg_jax." + part)]
assert {"sdeseg_jax.training.metrics_log", "sdeseg_jax.training.training_loop", "sdeseg_jax.training.checkpoints",
        "sdeseg_jax.depth.warping", "sdeseg_jax.mixing.depthmix", "sdeseg_jax.models.network",
        "sdeseg_jax.selection.farthest_point"} <= set(found), found

import jax.numpy as jnp, numpy as np
from sdeseg_jax.depth.warping import warp
source = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 4, 6, 3)), jnp.float32)
intrinsics = jnp.array([[[5.0, 0, 2.5], [0, 5.0, 1.5], [0, 0, 1]]])
sideways = jnp.eye(4)[None].at[:, 0, 3].set(0.4)  # 5 px * 0.4 m / 2 m: one pixel to the right
warped = warp(source, jnp.full((1, 4, 6, 1), 2.0), sideways, intrinsics)
np.testing.assert_allclose(warped[:, :, :5], source[:, :, 1:], atol=1e-5)

import tempfile
from sdeseg_jax.training.metrics_log import MetricsLog
MetricsLog(tempfile.mkdtemp(), tensorboard=False).write(1, {"loss": 0.5})
assert not {"tensorflow", "tensorflow_datasets", "clu"} & set(sys.modules)
print("done", len(found))
""",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("done")


def test_rendering_needs_numpy_alone():
    result = run_without(
        ("tensorflow", "tensorflow_datasets", "jax", "jaxlib", "flax", "ml_collections", "tqdm"),
        """
from sdeseg_jax.data import streets
from sdeseg_jax.data import worker_processes
from sdeseg_jax.data.streets import clip_encoding
clip = streets.render_clip(split="train", index=0, frames=1, height=16, width=32, seed=0)
print("done", clip["image"].shape)
""",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split(maxsplit=1)[0] == "done" and "16, 32, 3" in result.stdout


def test_preparing_frames_needs_neither_jax_nor_tensorflow():
    """So that worker processes start fast, and one per core fits into memory."""
    forbidden = ("tensorflow", "tensorflow_datasets", "jax", "jaxlib", "flax", "tqdm")
    result = run_without(forbidden, "from sdeseg_jax.data.builders import frame_encoding; print('done')")
    assert result.returncode == 0 and result.stdout == "done\n", result.stderr


def test_forbidden_imports_fail():
    """The tests above can fail."""
    result = run_without(("tensorflow",), "import_all('sdeseg_jax.data')")
    assert result.returncode != 0 and "tensorflow is not installed here" in result.stderr


def test_command_line_checks_a_config_without_jax_and_tensorflow():
    """So that a wrong flag is reported at once, not after seconds of imports."""
    result = run_without(("jax", "tensorflow", "flax"), "from sdeseg_jax import main; print('done')")
    assert result.returncode == 0 and result.stdout == "done\n", result.stderr
