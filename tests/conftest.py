"""Settings and fixtures of all tests."""

import gc
import json
import os
import pathlib
import subprocess
import sys

from tests.compilation import CACHE, QUICK

# Four virtual devices test data parallelism on any machine. To be set before JAX is imported.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4 {QUICK}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
import pytest
from sdeseg_jax.configs.streets import get_config

from sdeseg_jax.config import default_config

jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

DATA = os.environ.get("SDESEG_DATA", str(pathlib.Path(__file__).parents[2] / "shared" / "data"))
"""Folder of downloaded datasets, for tests on real files."""

GOLDEN = pathlib.Path(__file__).parent / "golden"


LONG_MODULES = (
    "tests/training/test_train_step.py",
    "tests/jobs/test_pipeline.py",
    "tests/training/test_multi_host.py",
    "tests/jobs/test_adaptation.py",
    "tests/jobs/test_own_data.py",
    "tests/scripts/test_soak.py",
    "tests/jobs/test_depth_sources.py",
    "tests/training/test_adaptation_step.py",
    "tests/commands/test_benchmark.py",
    "tests/jobs/own_run/test_predict_and_export.py",
    "tests/jobs/selecting/test_select_labels.py",
)
"""They run first, so that no worker waits at the end for another that runs one of them. test_multi_host follows
test_train_step, whose compiled program it finds in the cache."""


SLOW = pathlib.Path(__file__).parent / "slow_tests.txt"
"""Tests and fixtures that `scripts/test.sh` leaves out without --all, by measured time; scripts/measure_tests.py writes
it."""

TIMES = os.environ.get("SDESEG_TEST_TIMES")
"""File to append the CPU time of every test and fixture to; see scripts/measure_tests.py."""


def pytest_collection_modifyitems(items):
    """Marks slow tests and those that use a slow fixture, and puts long modules first.

    With `-n`, workers take modules in this order (--no-loadscope-reorder).
    """
    slow = set(SLOW.read_text().splitlines())
    for item in items:
        if item.nodeid.partition("[")[0] in slow or slow & set(map(name_of_fixture, fixtures_of(item))):
            item.add_marker("slow")
    place = {module: at for at, module in enumerate(LONG_MODULES)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


def fixtures_of(item):
    """Returns the definitions of the fixtures that a test uses."""
    return [definitions[-1] for definitions in item._fixtureinfo.name2fixturedefs.values()]


def name_of_fixture(definition) -> str:
    """Returns "fixture FILE::NAME", as `SLOW` lists it."""
    return f"fixture {definition.baseid}::{definition.argname}"


def cpu_seconds() -> float:
    """Returns the CPU time of this process and its children, which other work on the machine does not change."""
    return sum(os.times()[:4])


in_fixtures = [0.0]
"""CPU time that fixtures have taken so far."""


def record_time(name: str, seconds: float) -> None:
    """Appends a test's or fixture's CPU time to `TIMES`."""
    if TIMES:
        with open(TIMES, "a") as file:
            file.write(json.dumps([name, round(seconds, 2)]) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    """Records the CPU time of a fixture, without that of the fixtures that it uses."""
    before = cpu_seconds()
    result = yield
    seconds = cpu_seconds() - before
    in_fixtures[0] += seconds
    record_time(name_of_fixture(fixturedef), seconds)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Records the CPU time of a test without its fixtures."""
    before, fixtures = cpu_seconds(), in_fixtures[0]
    result = yield
    record_time(item.nodeid, cpu_seconds() - before - (in_fixtures[0] - fixtures))
    return result


@pytest.fixture(scope="module", autouse=True)
def freed_programs():
    """Frees the compiled programs of a module when it ends; shared ones stay in the cache on disk.

    On CPUs, each takes several of the 65,530 memory maps that Linux gives a process. All tests together came close to
    this limit, at which loading a program crashes or hangs.
    """
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True)
def command_line(monkeypatch):
    """Puts `sys.argv` back after a test: commands set it, and messages say how the program was called."""
    monkeypatch.setattr(sys, "argv", [*sys.argv])


@pytest.fixture(scope="session")
def golden():
    """golden(name) loads a file of reference numbers: {array name: array}."""
    return lambda name: dict(np.load(GOLDEN / f"{name}.npz"))


@pytest.fixture(scope="session")
def real_data():
    """real_data(name) -> folder of a dataset in $SDESEG_DATA (default: `shared/data` next to this repository)."""

    def folder(name: str) -> pathlib.Path:
        path = pathlib.Path(DATA, name)
        if not path.is_dir():
            pytest.skip(f"{path} does not exist; set SDESEG_DATA to the folder of downloaded datasets")
        return path

    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a 2 MB disk in memory."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a small disk: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="session")
def make_config(data_dir):
    """make_config(section__name=value, ...) -> tiny config with batches for the four virtual devices."""

    def make(**changes):
        config = get_config("size=tiny,multitask=true")
        config.pipeline.stages = default_config().pipeline.stages  # also estimate_depth, which it does not need
        config.data.data_dir = data_dir
        config.depth.batch_size = config.segmentation.batch_size = 4
        config.runtime.tensorboard = False  # images at the end of every training take seconds
        for key, value in changes.items():
            section, name = key.split("__")
            config[section][name] = value
        return config

    return make
