"""Commands in the README are valid: configs, settings, jobs, flags, scripts and their arguments."""

import importlib.util
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

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
    found = commands("python -m sdeseg_jax.main")
    assert len(found) > 8
    result = subprocess.run(
        [sys.executable, "-c", CHECK], input="\n".join(found), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", commands("python scripts/"))
def test_commands_of_scripts_parse(command):
    words = shlex.split(command)[1:]
    spec = importlib.util.spec_from_file_location("script", ROOT / words[0])
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    parser = script.make_parser().parse_args if hasattr(script, "make_parser") else script.parse_arguments
    parser(words[1:])


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
