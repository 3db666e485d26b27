"""`sdeseg`: commands by name, their help, and what is said about a wrong one."""

import pathlib
import subprocess
import sys

import pytest

import sdeseg_jax
from sdeseg_jax.commands import cli
from sdeseg_jax.jobs import JOBS
from sdeseg_jax.runs import installed_extras

ROOT = pathlib.Path(__file__).parents[2]


def run(*arguments, forbidden=("jax", "tensorflow", "matplotlib")):
    """Runs `sdeseg` in a process without some packages."""
    start = f"import runpy, sys; sys.modules.update({dict.fromkeys(forbidden)}); sys.argv[1:] = {list(arguments)!r}; "
    code = start + "runpy.run_module('sdeseg_jax', run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_overview_lists_every_job_and_command(arguments, capsys):
    assert cli.main(arguments) == 0
    shown = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert {"run", *cli.COMMANDS, *(job.replace("_", "-") for job in JOBS if job != "pipeline")} <= shown


@pytest.mark.parametrize("command", [[], ["run"], ["predict"], *([name] for name in cli.COMMANDS)])
def test_help_needs_neither_jax_nor_tensorflow(command):
    result = run(*command, "--help")
    assert result.returncode == 0 and result.stdout and not result.stderr, result.stderr


def test_help_of_a_job_shows_its_own_flags():
    text = run("predict", "--help").stdout
    assert "sdeseg predict --workdir=FOLDER --input=… --output=…" in text and "--model=…" in text
    text = run("train", "--help").stdout
    assert "--workdir=…" in text and "--input" not in text and "sdeseg run --help-config segmentation" in text


def test_version(capsys):
    assert cli.main(["--version"]) == 0 and capsys.readouterr().out == f"sdeseg_jax {sdeseg_jax.__version__}\n"


@pytest.mark.parametrize(
    "name, nearest", [("pedict", "'predict'"), ("prepare_dat", "'prepare'"), ("import_weight", "'import-weights'")]
)
def test_unknown_command(name, nearest, capsys):
    assert cli.main([name]) == 2
    assert f"no such command; did you mean {nearest}?" in capsys.readouterr().err


def test_jobs_take_the_flags_of_the_program():
    result = run("select_labels", "--config=streets:labels=4", "--workdr=x", forbidden=("tensorflow",))
    assert result.returncode == 2 and "Did you mean: workdir" in result.stderr
    result = run("train", "--config=streetz", "--workdir=x", forbidden=("tensorflow",))
    assert result.returncode == 2 and "--config=streetz does not exist; did you mean 'streets'?" in result.stderr


def test_missing_extras_are_named_before_work_starts(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(installed_extras, "is_installed", lambda name: name != "av")
    assert cli.main(["prepare", "--dataset=folder", f"--source={tmp_path}", f"--output={tmp_path / 'out'}"]) == 2
    shown = capsys.readouterr().err
    assert (
        "sdeseg prepare needs packages that are not installed: av" in shown
        and 'pip install "sdeseg-jax[data]"' in shown
    )
    result = run("train", "--config=streets", f"--workdir={tmp_path / 'run'}", forbidden=("tensorflow",))
    assert result.returncode == 2 and "--job=train needs packages that are not installed: tensorflow" in result.stderr
    assert 'pip install "sdeseg-jax[data]"' in result.stderr and not (tmp_path / "run").exists()
