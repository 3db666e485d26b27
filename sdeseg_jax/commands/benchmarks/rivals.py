"""Two functions of the same arrays, ours and a naive one, timed in turns and compared."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from sdeseg_jax.commands.benchmarks.printed_tables import COMPILATION, compilation, memory, milliseconds, number, table
from sdeseg_jax.commands.benchmarks.timing import compile_program, environment, peak_bytes, time_in_turns
from sdeseg_jax.commands.benchmarks.training import config_of, resolve

NAMES = ("ours", "naive")


def measure_batches(arguments, measure_batch: Callable) -> dict:
    """Calls `measure_batch(batch, crop, rounds)` for all batch sizes; returns `environment` and `runs`."""
    arguments = resolve(arguments)
    crop = tuple(config_of(arguments).data.crop)
    runs = [measure_batch(batch, crop, arguments.rounds) for batch in arguments.batch]
    return {"environment": environment(arguments) | {"crop": crop, "dtype": "float32"}, "runs": runs}


def compare(functions: Mapping[str, Callable], arguments: tuple, rounds: int) -> tuple[dict, dict]:
    """Measures both functions.

    Args:
      functions: by `NAMES`; they take `arguments`.
      arguments: NumPy arrays or trees of them.
      rounds: number of measurements.

    Returns:
      Facts: by `NAMES`, `Program.facts` and `seconds`; `ratio`, naive over ours; `peak_bytes`. And results by `NAMES`.
    """
    arguments = jax.device_put(arguments)
    programs = {name: compile_program(jax.jit(function), *arguments) for name, function in functions.items()}
    calls = {name: lambda program=program: program.compiled(*arguments) for name, program in programs.items()}
    seconds = time_in_turns(calls, rounds)
    facts: dict = {name: program.facts() | {"seconds": seconds[name]} for name, program in programs.items()}
    facts["ratio"] = seconds["naive"]["median"] / seconds["ours"]["median"]
    facts["peak_bytes"] = peak_bytes(jax.local_devices()[0])  # of the process, so of both
    return facts, {name: jax.device_get(call()) for name, call in calls.items()}


def relative_difference(ours, naive) -> float:
    """Returns the norm of the difference over the norm of the naive result, over all arrays of a tree together."""
    pairs = list(zip(jax.tree.leaves(ours), jax.tree.leaves(naive), strict=True))
    difference = np.sqrt(sum(np.sum((a - b) ** 2, dtype=np.float64) for a, b in pairs))
    return float(difference / np.sqrt(sum(np.sum(b**2, dtype=np.float64) for _, b in pairs)))


HEADER = ("", "ms (p10..p90)", "ratio", "GFLOP", "GFLOP/s", "GB", "GB/s", "memory [MiB]", *COMPILATION)


def show(comparisons: Mapping[str, dict]) -> list[str]:
    """Returns the lines of a table.

    Args:
      comparisons: name of a computation -> facts of `compare`.
    """
    rows = []
    for what, facts in comparisons.items():
        for name in NAMES:
            one, seconds = facts[name], facts[name]["seconds"]["median"]
            rows.append(
                [
                    f"{what}, {name}",
                    milliseconds(one["seconds"]),
                    f"{facts['ratio']:.2f}x" if name == "naive" else "",
                    number(one["flops"], 1e9, 3),
                    number(one["flops"] and one["flops"] / seconds, 1e9),
                    number(one["bytes_accessed"], 1e9, 3),
                    number(one["bytes_accessed"] and one["bytes_accessed"] / seconds, 1e9),
                    memory(one["planned_bytes"]),
                    *compilation(one),
                ]
            )
    return table(HEADER, rows)
