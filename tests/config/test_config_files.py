"""`--config`: files by path, and those of the package by name from any folder."""

import pathlib

import pytest

from sdeseg_jax.config import UserError
from sdeseg_jax.config.config_files import FOLDER, find_config

STREETS = str(FOLDER / "streets.py")


@pytest.mark.parametrize(
    "value, expected",
    [
        ("streets", STREETS),
        ("streets:labels=20,seed=1", f"{STREETS}:labels=20,seed=1"),
        ("streets.py", STREETS),
        ("configs/streets.py:size=tiny", f"{STREETS}:size=tiny"),
        ("mine/streets.py:a", "mine/streets.py:a"),
        ("configs/own.py", "configs/own.py"),
    ],
)
def test_names_and_paths(tmp_path, monkeypatch, value, expected):
    monkeypatch.chdir(tmp_path)
    for folder, name in (("mine", "streets.py"), ("configs", "own.py")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("def get_config():\n    pass\n")
    assert find_config(value) == expected


def test_a_file_of_ones_own_comes_before_that_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "streets.py").write_text("def get_config():\n    pass\n")
    assert find_config("configs/streets.py") == "configs/streets.py" and find_config("streets") == STREETS


@pytest.mark.parametrize(
    "value, message",
    [
        ("streetz", "--config=streetz does not exist; did you mean 'streets'?"),
        ("configs/streetz.py:labels=3", "streetz.py does not exist; did you mean 'configs/streets.py'?"),
        ("mine/streetz.py", "streetz.py does not exist; did you mean 'mine/streets.py'?"),
        ("mine", "--config=mine is a folder; name a config file in it; valid: 'mine/streets.py'"),
        ("notes.txt:a", "--config=notes.txt is not a Python file; a config defines get_config"),
        ("common", "--config=common does not exist"),
        (":labels=3", "the config's name is missing, e.g. --config=streets:labels=3"),
        ("", "the config's name is missing"),
    ],
)
def test_unknown_configs(tmp_path, monkeypatch, value, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "streets.py").write_text("def get_config():\n    pass\n")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError) as caught:
        find_config(value)
    assert message in str(caught.value)


def test_package_configs_import_by_the_name_of_the_installed_package():
    from sdeseg_jax.configs import streets

    assert pathlib.Path(streets.__file__) == FOLDER / "streets.py" and streets.get_config("labels=3").data.labels == 3
