"""Compile time of the multi-task step: in a fresh process with an empty cache, and in another that loads from it.

Compiles for shapes: makes no weights. Counts the operations in the compiled program that slow a step down.
"""

import re
import tempfile

from sdeseg_jax.commands.benchmarks.printed_tables import heading, number, table
from sdeseg_jax.commands.benchmarks.processes import run_in_process
from sdeseg_jax.commands.benchmarks.synthetic import make_batches
from sdeseg_jax.commands.benchmarks.timing import compile_program, environment
from sdeseg_jax.commands.benchmarks.training import config_of, make_training, over_devices, resolve, shapes_of

SCATTERS = ("scatter", "select-and-scatter")
TRANSFERS = ("infeed", "outfeed", "send", "recv")


def measure(arguments) -> dict:
    """Compiles twice, for the first batch size, in two processes that share an initially empty cache folder.

    Returns:
      `environment`, `batch`, and `Program.facts` as `cold` and `from_cache`; `cold` has `operations`, see
      `count_operations`.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "JAX_ENABLE_COMPILATION_CACHE": "true",
        }
        cold, cached = (run_in_process("compile", vars(arguments), **settings) for _ in range(2))
    facts = {name: cold[name] for name in ("environment", "batch")}
    return facts | {"cold": cold["program"], "from_cache": cached["program"]}


def respond(arguments) -> dict:
    """Compiles in this process; see `measure`."""
    arguments = resolve(arguments)
    training, batch = make_training(config_of(arguments)), arguments.batch[0]
    batches = shapes_of(make_batches(training.config, 1, batch))
    step = compile_program(over_devices(training.step, 1, donate=True), training.shapes, batches)
    text = step.compiled.as_text() or ""
    facts = environment(arguments) | {"crop": list(training.config.data.crop), "rounds": 1}
    program = step.facts() | {"operations": count_operations(text), "lines": text.count("\n")}
    return {"environment": facts, "batch": batch, "program": program}


def count_operations(hlo: str) -> dict[str, int]:
    """Counts scatters and host transfers by kind in a compiled program's text.

    A scatter is slow on accelerators; a host transfer makes the device wait.
    """
    counts = {name: len(re.findall(rf" {name}\(", hlo)) for name in (*SCATTERS, *TRANSFERS)}
    counts["host callback"] = len(re.findall(r'custom_call_target="[^"]*callback[^"]*"', hlo))
    return counts


def show(result: dict) -> str:
    """Returns the table."""
    rows = []
    for name, label in (("cold", "fresh process, empty cache"), ("from_cache", "fresh process, from the cache")):
        one = result[name]
        parts = [one["trace_seconds"], one["lower_seconds"], one["compile_seconds"]]
        rows.append([label, *map(number, parts), number(sum(parts))])
    cold, cached = result["cold"], result["from_cache"]
    counts = cold["operations"]
    lines = [
        heading(f"compile, step of batch {result['batch']}", result["environment"]),
        *table(("seconds", "trace", "lower", "compile or load", "total"), rows),
        f"The step: {number(cold['flops'], 1e9)} GFLOP, {number(cold['bytes_accessed'], 1e9)} GB read and written, "
        f"{number(cold['planned_bytes'], 2**20, 0)} MiB planned, {cold['lines']:,} lines of compiled HLO.",
        "In the compiled program: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + ".",
    ]
    if not cached["cached"]:
        lines.append("The second process did not find the program in the cache: this backend does not store it.")
    return "\n".join(lines)
