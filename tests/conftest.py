"""Settings and helpers that all tests share."""

import os
import pathlib
import tempfile

# Four virtual devices, so that data parallelism is tested on any machine. Before JAX is imported.
# They are threads: on a busy machine, one that the others wait for may get no time for longer than XLA's 40 seconds.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=4 --xla_cpu_collective_call_terminate_timeout_seconds=600"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
import pytest

CACHE = os.environ.get("SDESEG_TEST_CACHE", str(pathlib.Path(tempfile.gettempdir()) / "sdeseg_jax_test_cache"))
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

DATA = os.environ.get("SDESEG_DATA", str(pathlib.Path(__file__).parents[2] / "shared" / "data"))
"""Downloaded datasets, for tests on real files."""

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """Loads a file of reference numbers by name: {array name: array}."""
    return lambda name: dict(np.load(GOLDEN / f"{name}.npz"))


@pytest.fixture(scope="session")
def real_data():
    """Folder of a downloaded dataset in $SDESEG_DATA (by default a `shared/data` beside this repository)."""

    def folder(name: str) -> pathlib.Path:
        path = pathlib.Path(DATA, name)
        if not path.is_dir():
            pytest.skip(f"{path} is not there; SDESEG_DATA names the folder of downloaded datasets")
        return path

    return folder
