"""Measurements in processes of their own: with other settings of JAX, or with all of the device's memory."""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

SCRIPTS = pathlib.Path(__file__).resolve().parents[1]


def absent(packages: Sequence[str]) -> list[str]:
    """Those of some packages that are not installed."""

    def is_absent(package: str) -> bool:
        try:
            return importlib.util.find_spec(package) is None
        except (ImportError, ValueError):
            return True

    return [package for package in packages if is_absent(package)]


def run_in_process(module: str, request: dict, **environment: str) -> dict:
    """Runs `respond(request)` of `benchmarks.<module>` in a new process.

    Args:
      module: its name.
      request: attributes of what the module takes as its arguments; JSON.
      environment: variables, added to this process's.

    Raises:
      RuntimeError: the process failed; the message has the end of what it said.
    """
    path = os.pathsep.join(filter(None, (str(SCRIPTS.parent), str(SCRIPTS), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.processes", module],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": path},
    )
    if done.returncode:
        raise RuntimeError(f"measuring {module} in a process of its own failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_all(needs: Mapping[str, Sequence[str]], arguments: argparse.Namespace, folder: str) -> dict:
    """Runs benchmarks one after another, each in a process of its own, whose output is shown.

    Args:
      needs: name of a benchmark -> packages without which it is skipped.
      arguments: the command line's, handed on.
      folder: for their results.

    Returns:
      name -> result; {"skipped": reason} or {"failed": exit code} instead.
    """
    results: dict = {}
    for name, packages in needs.items():
        print(f"\n== {name} ==", flush=True)
        if missing := absent(packages):
            results[name] = {"skipped": f"needs {', '.join(missing)}: not installed here"}
            print(f"skipped: {results[name]['skipped']}", flush=True)
            continue
        output = pathlib.Path(folder, f"{name}.json")
        command = [sys.executable, str(SCRIPTS / "benchmark.py"), f"--what={name}", f"--output={output}"]
        code = subprocess.run(command + flags_of(arguments)).returncode
        results[name] = {"failed": code} if code else json.loads(output.read_text())
    return results


def flags_of(arguments: argparse.Namespace) -> list[str]:
    """The flags that a benchmark's arguments came from, without what is particular to `--what=all`."""
    flags = []
    for name, value in vars(arguments).items():
        if name in ("what", "output") or value is None or value is False:
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        flags += [f"--{name}", *map(str, values)]
    return flags


if __name__ == "__main__":
    respond = importlib.import_module(f"benchmarks.{sys.argv[1]}").respond
    print(json.dumps(respond(argparse.Namespace(**json.load(sys.stdin)))))
