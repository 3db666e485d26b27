"""Two functions of the same arrays, ours and a naive one, timed in turns and checked against each other."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from benchmarks.tables import memory, milliseconds, number, table
from benchmarks.timing import compile_program, peak_bytes, time_in_turns

NAMES = ("ours", "naive")


def compare(functions: Mapping[str, Callable], arguments: tuple, rounds: int) -> tuple[dict, dict]:
    """Measures both.

    Args:
      functions: by `NAMES`, of `arguments`.
      arguments: NumPy arrays or trees of them.
      rounds: of measurements.

    Returns:
      Facts: by `NAMES` `Program.facts` and `seconds`, and `ratio`, naive over ours. And by `NAMES` what they computed.
    """
    arguments = jax.device_put(arguments)
    programs = {name: compile_program(jax.jit(function), *arguments) for name, function in functions.items()}
    calls = {name: lambda program=program: program.compiled(*arguments) for name, program in programs.items()}
    seconds = time_in_turns(calls, rounds)
    facts: dict = {name: program.facts() | {"seconds": seconds[name]} for name, program in programs.items()}
    facts["ratio"] = seconds["naive"]["median"] / seconds["ours"]["median"]
    facts["peak_bytes"] = peak_bytes(jax.local_devices()[0])  # of both: it is the process's
    return facts, {name: jax.device_get(call()) for name, call in calls.items()}


def relative_difference(ours, naive) -> float:
    """Norm of the difference over the norm of the naive result, over all arrays of a tree together."""
    pairs = list(zip(jax.tree.leaves(ours), jax.tree.leaves(naive), strict=True))
    difference = np.sqrt(sum(np.sum((a - b) ** 2, dtype=np.float64) for a, b in pairs))
    return float(difference / np.sqrt(sum(np.sum(b**2, dtype=np.float64) for _, b in pairs)))


HEADER = ("", "ms (p10..p90)", "ratio", "GFLOP", "GFLOP/s", "GB", "GB/s", "memory [MiB]", "trace+lower [s]",
          "compile [s]")  # fmt: skip


def show(comparisons: Mapping[str, dict]) -> list[str]:
    """Lines of a table: what was done -> facts of `compare`."""
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
                    number(one["trace_seconds"] + one["lower_seconds"]),
                    number(one["compile_seconds"]) + (" cached" if one["cached"] else ""),
                ]
            )
    return table(HEADER, rows)
