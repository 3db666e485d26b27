"""Runs measurements in separate processes: with other JAX settings, or with all of the device's memory."""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

PLACE = str(pathlib.Path(__file__).resolve().parents[3])
"""Folder that holds this package; other processes import it from there, too."""


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Returns the packages that are not installed."""

    def is_missing(package: str) -> bool:
        try:
            return importlib.util.find_spec(package) is None
        except (ImportError, ValueError):
            return True

    return [package for package in packages if is_missing(package)]


def child_environment() -> dict[str, str]:
    """Returns the variables for a process that imports this package from where this one did."""
    path = os.pathsep.join(filter(None, (PLACE, os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path}


def run_in_process(module: str, request: dict, **environment: str) -> dict:
    """Runs `respond(request)` of a module of this package in a new process.

    Args:
      module: its name.
      request: attributes of the arguments of `respond`, as JSON values.
      environment: variables added to those of this process.

    Raises:
      RuntimeError: the process failed; the message has the end of its stderr.
    """
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, module],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=child_environment() | environment,
    )
    if done.returncode:
        raise RuntimeError(f"the process of benchmark {module} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_all(needs: Mapping[str, Sequence[str]], arguments: argparse.Namespace, folder: str) -> dict:
    """Runs benchmarks one after another, each in its own process, and shows their output.

    Args:
      needs: name of a benchmark -> packages that it requires; it is skipped without them.
      arguments: of the command line, passed on.
      folder: for results.

    Returns:
      name -> result, or {"skipped": reason} or {"failed": exit code}.
    """
    results: dict = {}
    for name, packages in needs.items():
        print(f"\n== {name} ==", flush=True)
        if missing := missing_packages(packages):
            results[name] = {"skipped": f"needs {', '.join(missing)} (not installed)"}
            print(f"skipped: {results[name]['skipped']}", flush=True)
            continue
        output = pathlib.Path(folder, f"{name}.json")
        command = [sys.executable, "-m", "sdeseg_jax", "benchmark", f"--what={name}", f"--output={output}"]
        code = subprocess.run(command + flags_of(arguments), env=child_environment()).returncode
        results[name] = {"failed": code} if code else json.loads(output.read_text())
    return results


def flags_of(arguments: argparse.Namespace) -> list[str]:
    """Returns the flags that give these arguments, except --what and --output."""
    flags = []
    for name, value in vars(arguments).items():
        if name in ("what", "output") or value is None or value is False:
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        flags += [f"--{name}", *map(str, values)]
    return flags


if __name__ == "__main__":
    respond = importlib.import_module(f"{__package__}.{sys.argv[1]}").respond
    print(json.dumps(respond(argparse.Namespace(**json.load(sys.stdin)))))
