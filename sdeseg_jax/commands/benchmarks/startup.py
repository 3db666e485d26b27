"""Start of the commands: seconds until their help is shown, next to those of `import jax`."""

import subprocess
import sys
import time

import numpy as np

from sdeseg_jax.commands.benchmarks.printed_tables import milliseconds, number, table
from sdeseg_jax.commands.benchmarks.processes import child_environment

REFERENCE = "import jax"
HELP = ("", "run", "predict", "prepare", "import-weights", "annotation-package", "import-labels", "tables", "benchmark")


def measure(arguments) -> dict:
    """Runs the commands in turns, each in a process of its own.

    Returns:
      `rounds`, and `seconds`: command -> median, 10th and 90th percentile.
    """
    commands = {REFERENCE: ["-c", "import jax"]}
    commands |= {f"sdeseg {name}".strip() + " --help": ["-m", "sdeseg_jax", *name.split(), "--help"] for name in HELP}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for round_ in range(arguments.rounds + 1):  # the first only fills the caches of files
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], env=child_environment(), check=True, stdout=subprocess.DEVNULL)
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {"rounds": arguments.rounds, "seconds": {name: _spread(values) for name, values in seconds.items()}}


def _spread(seconds: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(seconds, (10, 50, 90))
    return {"median": float(middle), "p10": float(low), "p90": float(high)}


def show(result: dict) -> str:
    """Returns the table."""
    reference = result["seconds"][REFERENCE]["median"]
    rows = [
        [name, milliseconds(spread), number(spread["median"] / reference, digits=2)]
        for name, spread in result["seconds"].items()
    ]
    lines = table(("", "ms: median (p10..p90)", f"of {REFERENCE}"), rows)
    return "\n".join([f"startup: {result['rounds']} rounds", *lines])
