"""Steps on one device and on several with a fixed batch per device (weak scaling).

On CPUs the devices are virtual and share the cores. There, one device gets the same global batch as all of them, which
measures the overhead of several devices alone.
"""

import os

import jax

from sdeseg_jax.commands.benchmarks.printed_tables import heading, milliseconds, percent, table
from sdeseg_jax.commands.benchmarks.processes import run_in_process
from sdeseg_jax.commands.benchmarks.step import start_steps
from sdeseg_jax.commands.benchmarks.synthetic import make_batches
from sdeseg_jax.commands.benchmarks.timing import environment, time_in_turns
from sdeseg_jax.commands.benchmarks.training import config_of, make_state, make_training, resolve

FORCE = "--xla_force_host_platform_device_count"


def measure(arguments) -> dict:
    """Measures with the first batch size, in a process per number of devices.

    Returns:
      `environment`, `batch` (per device), `virtual`, `available` devices, and `runs`: `devices`, `seconds` of a step,
      `images_per_second`, and for several devices `efficiency`: images per second over devices times those of one
      device; for virtual devices, the time of one device with the global batch over theirs.
    """
    first = _in_process(arguments, 1, None)
    virtual, available, batch = first["virtual"], first["available"], first["batch"]
    wanted = sorted(set(arguments.devices) - {1}) if virtual else sorted({*arguments.devices, available} - {1})
    runs = [_run(1, first)]
    for devices in wanted:
        if not virtual and devices > available:
            continue
        many = _in_process(arguments, devices, batch)
        one = _in_process(arguments, 1, devices * batch) if virtual else first
        run = _run(devices, many)
        if virtual:
            run["one_device"] = _run(1, one)
            run["efficiency"] = one["seconds"]["median"] / many["seconds"]["median"]
        else:
            run["efficiency"] = run["images_per_second"] / (devices * runs[0]["images_per_second"])
        runs.append(run)
    facts = {name: first[name] for name in ("environment", "batch", "virtual", "available")}
    return facts | {"wanted": arguments.devices, "runs": runs}


def _in_process(arguments, devices: int, batch: int | None) -> dict:
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(FORCE)]
    request = vars(arguments) | {"devices": devices} | ({} if batch is None else {"batch": [batch]})
    return run_in_process("scaling", request, XLA_FLAGS=" ".join([*flags, f"{FORCE}={devices}"]))


def _run(devices: int, response: dict) -> dict:
    images, seconds = 2 * devices * response["batch"], response["seconds"]
    return {"devices": devices, "images": images, "seconds": seconds, "images_per_second": images / seconds["median"]}


def respond(arguments) -> dict:
    """Measures steps on `arguments.devices` devices in this process."""
    arguments = resolve(arguments)
    training, batch, devices = make_training(config_of(arguments)), arguments.batch[0], arguments.devices
    batches = make_batches(training.config, devices, batch)
    _, call = start_steps(training, make_state(training.shapes), batches, devices)
    return {
        "environment": environment(arguments) | {"crop": list(training.config.data.crop)},
        "virtual": jax.default_backend() == "cpu",
        "available": jax.local_device_count(),
        "batch": batch,
        "seconds": time_in_turns({"step": call}, arguments.rounds)["step"],
    }


def show(result: dict) -> str:
    """Returns the table."""
    ones = [one for run in result["runs"] for one in (run, run.get("one_device")) if one]
    rows = [
        [
            str(one["devices"]),
            str(one["images"]),
            milliseconds(one["seconds"]),
            f"{one['images_per_second']:.1f}",
            percent(one["efficiency"]) if "efficiency" in one else "",
        ]
        for one in ones
    ]
    lines = [
        heading(f"scaling, batch {result['batch']} per device", result["environment"]),
        *table(("devices", "images a step", "ms (p10..p90)", "images/s", "efficiency"), rows),
    ]
    if result["virtual"]:
        lines.append(
            "These devices are virtual and share the cores: efficiency is the time of one device with the same global "
            "batch (the row below) over theirs, the overhead of several devices alone."
        )
    elif absent := [devices for devices in result["wanted"] if devices > result["available"]]:
        lines.append(f"Not measured: {', '.join(map(str, absent))} devices; this machine has {result['available']}.")
    return "\n".join(lines)
