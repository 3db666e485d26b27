"""Commands in the README are valid: configs, settings, jobs, flags, scripts and their arguments."""

import importlib
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from sdeseg_jax.commands.cli import COMMANDS, SUBJOBS

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(start: str) -> list[str]:
    """Returns lines of code with this start: continued lines joined, brackets around options and "…" removed."""
    joined = TEXT.replace("\\\n", " ")
    found = [line.strip() for line in joined.splitlines() if line.startswith("    ") and line.strip().startswith(start)]
    return sorted({" ".join(re.sub(r"\[--([^]]*)\]", r"--\1", line).replace("…", "").split()) for line in found})


CHECK = """
import os, shlex, sys
from absl import flags
from sdeseg_jax import config, main
from sdeseg_jax.jobs import JOBS
failed = False
for command in sys.stdin.read().splitlines():
    if child := os.fork():  # a process can parse the flags of one command only
        failed |= os.waitpid(child, 0)[1] != 0
        continue
    print(command, file=sys.stderr, flush=True)
    sys.argv = ["main", *shlex.split(command)[3:]]  # config_flags reads overrides from here
    assert not main.parse_flags(sys.argv)[1:]
    if flags.FLAGS.config is not None:
        config.validate(flags.FLAGS.config)
    assert flags.FLAGS.job in JOBS
    os._exit(0)
sys.exit(failed)
"""


def test_commands_of_the_program_parse():
    jobs = [one.replace("sdeseg run", "python -m sdeseg_jax.main", 1) for one in commands("sdeseg run")]
    for name in SUBJOBS:
        given = commands(f"sdeseg {name} ")
        jobs += [one.replace(f"sdeseg {name}", f"python -m sdeseg_jax.main --job={SUBJOBS[name]}") for one in given]
    found = [*commands("python -m sdeseg_jax.main"), *jobs]
    assert len(found) > 8
    result = subprocess.run(
        [sys.executable, "-c", CHECK], input="\n".join(found), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


def check_arguments(module, arguments: list[str]) -> None:
    parser = module.make_parser().parse_args if hasattr(module, "make_parser") else module.parse_arguments
    parser(arguments)


@pytest.mark.parametrize("command", commands("python scripts/"))
def test_commands_of_scripts_parse(command):
    script, *arguments = shlex.split(command)[1:]
    assert (ROOT / script).exists()
    name = pathlib.Path(script).stem
    inside = ROOT / "sdeseg_jax" / "commands" / f"{name}.py"
    check_arguments(
        importlib.import_module(f"sdeseg_jax.commands.{name}" if inside.exists() else f"scripts.{name}"), arguments
    )


@pytest.mark.parametrize("command", [one for one in commands("sdeseg ") if one.split()[1] in COMMANDS])
def test_commands_of_sdeseg_parse(command):
    _, name, *arguments = shlex.split(command)
    check_arguments(importlib.import_module(f"sdeseg_jax.commands.{COMMANDS[name].module}"), arguments)


def test_files_and_links_exist():
    for path in re.findall(r"`((?:scripts|configs|sdeseg_jax|tests)/[\w./]+)`", TEXT):
        assert (ROOT / path).exists(), path
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ")).strip().lower().replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    for anchor in re.findall(r"\]\(#([\w-]+)\)", TEXT):
        assert anchor in headings, anchor


def test_settings_in_the_text_exist():
    from sdeseg_jax.config import default_config, flatten

    known = flatten(default_config())
    sections = {".".join(key.split(".")[:n]) for key in known for n in range(1, len(key.split(".")))}
    for name in re.findall(r"config\.([a-z_]+(?:\.[a-z_]+)*)", TEXT):
        assert name in known or name in sections or name in ("json", "py", "xml"), f"config.{name}"


def test_lines_fit():
    long = [line for line in TEXT.splitlines() if len(line) > 120 and not line.startswith("|")]
    assert not long


def test_modules_in_the_table_of_the_paper_exist():
    table = TEXT.partition("## How the code follows the paper")[2].partition("\n\n#")[0]
    named = re.findall(r"`([a-z_/]+/(?:[a-z_]+\.py)?)`", table)
    assert len(named) > 15
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "sdeseg_jax" / name).exists()]
    assert not missing, missing
