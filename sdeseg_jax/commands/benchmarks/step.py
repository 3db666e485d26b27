"""The multi-task step of `train` on one device and its parts, next to a plain PyTorch network.

Batches are on the device already and the state is donated, as in training.
"""

import jax

from sdeseg_jax.commands.benchmarks import torch_resnet
from sdeseg_jax.commands.benchmarks.parts import make_parts
from sdeseg_jax.commands.benchmarks.printed_tables import (
    COMPILATION,
    compilation,
    heading,
    memory,
    milliseconds,
    number,
    percent,
    table,
)
from sdeseg_jax.commands.benchmarks.synthetic import make_batches
from sdeseg_jax.commands.benchmarks.timing import (
    Program,
    compile_program,
    environment,
    matmul_peak,
    peak_bytes,
    rate,
    time_in_turns,
)
from sdeseg_jax.commands.benchmarks.training import (
    Training,
    config_of,
    make_state,
    make_training,
    over_devices,
    put,
    resolve,
)


def measure(arguments) -> dict:
    """Measures the step at all batch sizes.

    Returns:
      `environment`, `matmul` (the peak for utilisation), and `runs`, a result of `measure_batch` per batch size with
      `torch`, see `torch_resnet.measure`; None without PyTorch.
    """
    torch = torch_resnet.measure(arguments)
    arguments = resolve(arguments)
    training = make_training(config_of(arguments))
    peak = matmul_peak(arguments.dtype)
    runs = [measure_batch(training, batch, arguments, peak["flops_per_second"]) for batch in arguments.batch]
    for run in runs:
        run["torch"] = torch.get(run["batch"])
    facts = environment(arguments) | {"crop": list(training.config.data.crop)}
    return {"environment": facts, "matmul": peak, "runs": runs}


def measure_batch(training: Training, batch: int, arguments, peak: float) -> dict:
    """Measures a step of `batch` labelled and `batch` pool images.

    Returns:
      `batch`, `images_per_second` (labelled and pool), `step` and, by name, `parts` (see `_facts`; their `share` is of
      the step's time).
    """
    state, batches = make_state(training.shapes), make_batches(training.config, 1, batch)
    step, call = start_steps(training, state, batches, 1)
    jax.block_until_ready(call())
    peak_memory = peak_bytes(jax.local_devices()[0])  # before the parts take memory of their own
    programs, calls, parts = {}, {"step": call}, make_parts(training, state, batch)
    for name, part in parts.items():
        inputs = put(part.shared, part.batch, 1)
        programs[name] = compile_program(over_devices(part.function, 1), *inputs)
        calls[name] = lambda compiled=programs[name].compiled, inputs=inputs: compiled(*inputs)
    seconds = time_in_turns(calls, arguments.rounds)
    whole = _facts(step, seconds["step"], peak) | {"peak_bytes": peak_memory}
    measured = {}
    for name, part in parts.items():
        share = part.times * seconds[name]["median"] / seconds["step"]["median"]
        measured[name] = _facts(programs[name], seconds[name], peak) | {"times": part.times, "share": share}
    images = 2 * batch / whole["seconds"]["median"]
    return {"batch": batch, "images_per_second": images, "step": whole, "parts": measured}


def start_steps(training: Training, state, batches: dict, devices: int) -> tuple[Program, object]:
    """Compiles the step for some devices.

    Args:
      training: has the step.
      state: NumPy arrays.
      batches: NumPy arrays [devices, B, ...].
      devices: number of devices.

    Returns:
      The program, and a function that runs the next step and returns its metrics.
    """
    state, batches = put(state, batches, devices)
    step = compile_program(over_devices(training.step, devices, donate=True), state, batches)

    def call():
        nonlocal state
        state, metrics = step.compiled(state, batches)
        return metrics

    return step, call


def _facts(program: Program, seconds: dict, peak: float) -> dict:
    """Returns `Program.facts` with `seconds`, `flops_per_second`, and `utilisation`, its share of `peak`."""
    flops = rate(program.flops, seconds["median"])
    return program.facts() | {
        "seconds": seconds,
        "flops_per_second": flops,
        "utilisation": None if flops is None else flops / peak,
    }


HEADER = ("", "times", "ms (p10..p90)", "share", "GFLOP", "GFLOP/s", "MFU", "GB", "memory [MiB]", *COMPILATION)


def _row(name: str, one: dict) -> list[str]:
    return [
        name,
        str(one.get("times", 1)),
        milliseconds(one["seconds"]),
        percent(one.get("share", 1.0)),
        number(one["flops"], 1e9, 2),
        number(one["flops_per_second"], 1e9),
        percent(one["utilisation"]),
        number(one["bytes_accessed"], 1e9, 2),
        memory(one["planned_bytes"], one.get("peak_bytes")),
        *compilation(one),
    ]


def show(result: dict) -> str:
    """Returns the tables."""
    peak = result["matmul"]
    lines = [
        heading("step", result["environment"]),
        f"MFU: of {peak['flops_per_second'] / 1e9:,.0f} GFLOP/s, a {peak['dtype']} product of two "
        f"{peak['size']}x{peak['size']} matrices. GB: read and written by a call."
        + (" With remat, FLOPs include what is computed twice." if result["environment"]["remat"] else ""),
    ]
    for run in result["runs"]:
        parts = run["parts"]
        seconds = sum(one["times"] * one["seconds"]["median"] for one in parts.values())
        flops = [one["flops"] and one["times"] * one["flops"] for one in parts.values()]
        share, flops = sum(one["share"] for one in parts.values()), None if None in flops else sum(flops)
        total = ["all parts", "", f"{1000 * seconds:,.1f}", percent(share), number(flops, 1e9, 2), *[""] * 6]
        rows = [_row("step", run["step"]), *(_row(name, one) for name, one in parts.items()), total]
        lines += [
            "",
            f"batch {run['batch']} labelled + {run['batch']} pool images: {run['images_per_second']:.1f} images/s",
            *table(HEADER, rows),
            "",
            torch_resnet.show(run["torch"], run["step"]),
        ]
    lines += [
        "",
        "Figures of a part are for one call. Parts are compiled alone; the step runs some together. Its student passes",
        "(labelled, pool and mixed images) leave out heads that no loss needs; the part computes all heads.",
    ]
    return "\n".join(lines)
