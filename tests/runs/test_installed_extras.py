"""A missing extra is said in words, with the command that installs it, before work starts."""

import pytest

from sdeseg_jax.config import UserError
from sdeseg_jax.runs import installed_extras
from sdeseg_jax.runs.installed_extras import EXTRAS, check_extras, needed_extras


@pytest.fixture
def without(monkeypatch):
    """without("av", …): as if packages were not installed."""
    return lambda *names: monkeypatch.setattr(installed_extras, "is_installed", lambda name: name not in names)


def test_what_needs_what(make_config):
    config = make_config()
    assert [extra for extra, _ in needed_extras(config, "train")] == ["data"]
    config = make_config(runtime__tensorboard=True, predict__files=("labels", "disparity_color"))
    assert [extra for extra, _ in needed_extras(config, "train")] == ["data", "report"]
    assert [extra for extra, _ in needed_extras(config, "predict")] == ["data", "report"]
    assert {extra for extra, _ in needed_extras(config, "pipeline")} == {"data", "report"}
    assert [extra for extra, _ in needed_extras(make_config(export__formats=("onnx",)), "export")] == ["data", "export"]
    assert [extra for extra, _ in needed_extras(make_config(export__formats=("stablehlo",)), "export")] == ["data"]


def test_message_has_what_is_missing_and_the_command(without):
    without("tensorflow", "av", "matplotlib")
    with pytest.raises(UserError) as caught:
        check_extras([("data", "--job=train"), ("report", "config.runtime.tensorboard")])
    assert str(caught.value) == (
        "--job=train needs packages that are not installed: tensorflow, av. config.runtime.tensorboard needs packages "
        'that are not installed: matplotlib. Install them with: pip install "sdeseg-jax[data,report]"'
    )


def test_nothing_is_said_if_all_is_there(without):
    check_extras((extra, "a job") for extra in EXTRAS)
    without("matplotlib")
    check_extras([("data", "a job")])
    assert not installed_extras.is_installed("matplotlib")


def test_packages_are_looked_up_without_importing_them(monkeypatch):
    import sys

    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert not installed_extras.is_installed("onnx") and installed_extras.is_installed("jax")
    assert not installed_extras.is_installed("no_such_package.inner")
