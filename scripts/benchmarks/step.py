"""The multi-task step of `train` on one device, the parts that it is made of, and a plain PyTorch network beside it.

Batches lie on the device already and the state is donated, as in a training.
"""

import jax

from benchmarks import torch_resnet
from benchmarks.parts import make_parts
from benchmarks.synthetic import make_batches
from benchmarks.tables import heading, memory, milliseconds, number, percent, rate, table
from benchmarks.timing import Program, compile_program, environment, matmul_peak, peak_bytes, time_in_turns
from benchmarks.training import Training, config_of, make_state, make_training, over_devices, put, resolve


def measure(arguments) -> dict:
    """Measures the step at all batch sizes.

    Returns:
      `environment`, `matmul` (the peak that utilisation is of), and `runs`, one of `measure_batch` per batch size
      with `torch` beside it, see `torch_resnet.measure`; None without PyTorch.
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
      `batch`, `images_per_second` (labelled and pool), `step` and, by name, `parts` (see `_facts`; shares are of the
      step's time).
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
      training: whose step.
      state: NumPy arrays.
      batches: NumPy arrays [devices, B, ...].
      devices: how many.

    Returns:
      The program, and a function that makes the next step and returns its metrics.
    """
    state, batches = put(state, batches, devices)
    step = compile_program(over_devices(training.step, devices, donate=True), state, batches)

    def call():
        nonlocal state
        state, metrics = step.compiled(state, batches)
        return metrics

    return step, call


def _facts(program: Program, seconds: dict, peak: float) -> dict:
    """What is known of a program: `Program.facts`, its seconds, FLOP/s, and utilisation: its share of `peak`."""
    flops = rate(program.flops, seconds["median"])
    return program.facts() | {
        "seconds": seconds,
        "flops_per_second": flops,
        "utilisation": None if flops is None else flops / peak,
    }


HEADER = ("", "times", "ms (p10..p90)", "share", "GFLOP", "GFLOP/s", "MFU", "GB", "memory [MiB]", "trace+lower [s]",
          "compile [s]")  # fmt: skip


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
        number(one["trace_seconds"] + one["lower_seconds"]),
        number(one["compile_seconds"]) + (" cached" if one["cached"] else ""),
    ]


def show(result: dict) -> str:
    """The tables."""
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
        total = ["all parts", "", f"{1000 * seconds:,.1f}", percent(sum(one["share"] for one in parts.values())),
                 number(None if None in flops else sum(flops), 1e9, 2), *[""] * 6]  # fmt: skip
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
        "A part's figures are of one time. Parts are compiled alone; the step runs some of them together. Its student",
        "passes (labelled, pool, mixed images) leave out the heads that no loss needs, the part leaves out none.",
    ]
    return "\n".join(lines)
