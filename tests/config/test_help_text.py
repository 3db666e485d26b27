"""`--help`: what it lists, without importing JAX or TensorFlow."""

import pathlib
import subprocess
import sys

import pytest

from sdeseg_jax.config import config_files, help_text
from sdeseg_jax.jobs import JOBS

ROOT = pathlib.Path(__file__).parents[2]
NOT_CONFIGS = {"__init__", "common", "encoders", "tables", "experiments"}


def run(*arguments):
    """Runs the command line in a process without JAX and TensorFlow."""
    code = "import runpy, sys; sys.modules.update(jax=None, tensorflow=None); sys.argv[1:] = {!r}; "
    code = code.format(list(arguments)) + "runpy.run_module('sdeseg_jax.main', run_name='__main__', alter_sys=True)"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("arguments", [[], ["--workdir=x", "-h"]])
def test_help_lists_jobs_configs_flags_and_examples(arguments):
    result = run(*arguments)
    assert result.returncode == 0 and not result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= help_text.WIDTH
    starts = {line.split()[0] for line in lines if line.startswith("  ") and line[2:3].strip()}
    assert set(JOBS) <= starts
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} - NOT_CONFIGS <= starts
    assert not NOT_CONFIGS & starts
    assert {"--workdir=…", "--config=…", "--job=…", "--cluster", "--changed=refuse|keep|redo"} <= starts
    assert "Arguments: labels, seed, steps, size, encoder, weights, mix, depth," in result.stdout
    assert (
        sum(line.startswith("    python -m sdeseg_jax.main --config=") for line in lines) == 4
    )  # one of them the usage


def test_help_of_a_config_is_its_docstring():
    result = run("--config=configs/streets.py:labels=3", "--help")
    assert result.returncode == 0 and not result.stderr
    assert (
        result.stdout.startswith("Streets, the embedded procedural dataset: ")
        and "  frames=F      share" in result.stdout
    )
    wrong = run("--config=configs/streetz.py", "--help")
    assert wrong.returncode == 2 and "streetz.py does not exist; did you mean 'configs/streets.py'?" in wrong.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_docstrings_are_wrapped_without_loss(path):
    text = help_text.help_text(str(path), {}, [])
    assert max(map(len, text.splitlines())) <= help_text.WIDTH

    def words(text):
        return text.replace("\\\n", "").split()

    docstring = config_files.config_files(path.parent).get(path)
    assert docstring is None or words(text)[: len(words(docstring))] == words(docstring)


def test_own_configs_are_listed_beside_those_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.py").write_text('"""My own."""\n\ndef get_config():\n    pass\n')
    (tmp_path / "configs" / "broken.py").write_text("def get_config(:")
    text = help_text.help_text(None, {}, [])
    assert "  configs/mine.py         My own." in text and "broken" not in text and "\n  streets  " in text


@pytest.mark.parametrize(
    "argv, wanted",
    [
        (["main"], True),
        (["main", "-help"], True),
        (["main", "--helpshort"], True),
        (["main", "-?"], True),
        (["main", "--job=help"], False),
        (["main", "help"], False),
    ],
)
def test_when_help_is_wanted(argv, wanted):
    assert help_text.is_wanted(argv) == wanted


def test_errors_of_flags_in_plain_words():
    message = "flag --config.model.remat=: ('Non-boolean argument to boolean flag', '')"
    assert help_text.simplify_flag_error(message) == "--config.model.remat=: should be true or false"
    assert "name the file, e.g. --config=" in help_text.simplify_flag_error(
        "Unknown command line flag 'config.model.remat'"
    )
    assert help_text.simplify_flag_error("Missing value for flag --config") == "Missing value for flag --config"
