"""The examples in docstrings run, and show what they say."""

import doctest
import importlib
import inspect

import pytest

from tests.random_run import write_random_run

EXAMPLES = {
    "depth.warping": ["warp"],
    "mixing.depthmix": ["depthmix"],
    "mixing.mean_teacher": ["update_teacher"],
    "adaptation.geometry_matching": ["geometric_difference"],
    "selection.select_frames": ["select_frames"],
    "inference.load_predictor": ["load"],
}
"""Module -> functions for other Python programs."""


@pytest.fixture
def streets(make_config, tmp_path, monkeypatch):
    """runs/streets in the current folder, which the examples load."""
    monkeypatch.chdir(tmp_path)
    write_random_run(tmp_path / "runs" / "streets", make_config(), (32, 64))


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings(name, streets):
    module = importlib.import_module(f"sdeseg_jax.{name}")
    found = {test.name.rpartition(".")[2] for test in doctest.DocTestFinder().find(module) if test.examples}
    assert set(EXAMPLES[name]) <= found
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed


def test_no_other_module_has_untested_examples():
    import pkgutil

    import sdeseg_jax

    for room in ("depth", "mixing", "adaptation", "selection", "models", "evaluation"):
        package = importlib.import_module(f"sdeseg_jax.{room}")
        for found in pkgutil.iter_modules(package.__path__):
            text = inspect.getsource(importlib.import_module(f"{package.__name__}.{found.name}"))
            assert ">>>" not in text or f"{room}.{found.name}" in EXAMPLES
    assert callable(sdeseg_jax.load)
