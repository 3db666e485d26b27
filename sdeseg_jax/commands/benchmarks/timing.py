"""Time, cost and memory of compiled programs, and a large matrix product as the reference."""

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

ROUND_SECONDS = 0.2
"""Approximate length of a round, which repeats its call: short programs are timed over many calls."""

_EVENTS: collections.Counter[str] = collections.Counter()
_LONGEST: dict[str, float] = {}
_LOWERING = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_CACHE_HIT = "/jax/compilation_cache/cache_hits"


def _on_duration(event: str, duration: float, **_) -> None:
    _LONGEST[event] = max(duration, _LONGEST.get(event, 0.0))


jax.monitoring.register_event_duration_secs_listener(_on_duration)
jax.monitoring.register_event_listener(lambda event, **_: _EVENTS.update([event]))


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program and what the compiler reports about it; None for what it does not report.

    Attributes:
      compiled: called with arrays like those that it was compiled for.
      trace_seconds, lower_seconds: Python to jaxpr, and jaxpr to StableHLO.
      compile_seconds: StableHLO to machine code, or loading that from the cache.
      cached: whether it was loaded from the persistent cache.
      flops: floating-point operations of a call.
      flops_of: the program in which they are counted, "compiled" or "lowered". The compiled program hides what
        libraries compute (cuDNN, cuBLAS); then the lowered one counts.
      bytes_accessed: bytes that a call of the compiled program reads and writes.
      planned_bytes: device memory of a call: arguments, results and temporaries.
    """

    compiled: Any
    trace_seconds: float
    lower_seconds: float
    compile_seconds: float
    cached: bool
    flops: float | None
    flops_of: str
    bytes_accessed: float | None
    planned_bytes: int | None

    def facts(self) -> dict:
        """Returns all attributes but the program itself, for JSON."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "compiled"]
        return {name: getattr(self, name) for name in names}


def compile_program(function: Callable, *arguments) -> Program:
    """Compiles the result of `jax.jit` or `jax.pmap` for arguments, which may be shapes."""
    _LONGEST.pop(_LOWERING, None)
    hits, start = _EVENTS[_CACHE_HIT], time.perf_counter()
    lowered = function.lower(*arguments)
    middle = time.perf_counter()
    compiled = lowered.compile()
    end = time.perf_counter()
    # JAX reports inner functions too; the longest lowering is that of the whole program.
    lowering = _LONGEST.get(_LOWERING, 0.0)
    before, after = _cost(lowered), _cost(compiled)
    hidden = after.get("flops", 0.0) < 0.9 * before.get("flops", 0.0)
    return Program(
        compiled,
        trace_seconds=middle - start - lowering,
        lower_seconds=lowering,
        compile_seconds=end - middle,
        cached=_EVENTS[_CACHE_HIT] > hits,
        flops=(before if hidden else after).get("flops"),
        flops_of="lowered" if hidden else "compiled",
        bytes_accessed=after.get("bytes accessed"),
        planned_bytes=_planned_bytes(compiled),
    )


def _cost(stage) -> dict[str, float]:
    try:
        cost = stage.cost_analysis()
    except Exception:  # backends without it raise different errors
        return {}
    return dict((cost[0] if isinstance(cost, list) else cost) or {})


def lowered_flops(function: Callable, *arguments) -> float | None:
    """Returns the FLOPs of a `jax.jit` function without compiling it."""
    return _cost(function.lower(*arguments)).get("flops")


def _planned_bytes(compiled) -> int | None:
    try:
        memory = compiled.memory_analysis()
        sizes = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
        return sum(sizes) - memory.alias_size_in_bytes
    except Exception:  # as above
        return None


def rate(flops: float | None, seconds: float) -> float | None:
    """Returns FLOP/s; None if the FLOPs are unknown."""
    return None if flops is None else flops / seconds


def peak_bytes(device) -> int | None:
    """Returns this process's peak memory on a device in bytes; None if the backend does not report it."""
    return (device.memory_stats() or {}).get("peak_bytes_in_use")


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Returns the median, 10th and 90th percentile of times."""
    low, middle, high = np.percentile(seconds, (10, 50, 90))
    return {"median": float(middle), "p10": float(low), "p90": float(high)}


def time_in_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """Times calls in turns, so that other load on the machine affects all of them alike.

    A round starts enough calls to fill `ROUND_SECONDS` and waits for the last only, as training does. On CPUs, it waits
    for each: with many steps under way, virtual devices that share cores may never meet in a collective.

    Args:
      calls: name -> compiled function that returns arrays.
      rounds: number of rounds of each.

    Returns:
      name -> `spread` of the seconds of one call.
    """
    repeats, seconds = {}, {name: [] for name in calls}
    wait = jax.default_backend() == "cpu"
    for name, call in calls.items():
        for _ in range(2):  # the first call includes loading
            start = time.perf_counter()
            jax.block_until_ready(call())
            duration = time.perf_counter() - start
        repeats[name] = max(1, min(100, math.ceil(ROUND_SECONDS / max(duration, 1e-6))))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                out = jax.block_until_ready(call()) if wait else call()
            jax.block_until_ready(out)
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return {name: spread(values) for name, values in seconds.items()}


def matmul_peak(dtype: str, rounds: int = 5) -> dict:
    """Measures the FLOP/s of a large product of square matrices, the practical peak of a device.

    Args:
      dtype: of the matrices.
      rounds: number of measurements; the fastest counts.
    """
    size = 8192 if jax.default_backend() != "cpu" else 2048 if dtype == "float32" else 512
    x = jax.device_put(np.random.default_rng(0).standard_normal((size, size), np.float32)).astype(dtype)
    multiply = jax.jit(lambda a, b: a @ b).lower(x, x).compile()
    calls = {"matmul": lambda: multiply(x, x)}
    fastest = min(time_in_turns(calls, 1)["matmul"]["median"] for _ in range(rounds))
    return {"size": size, "dtype": dtype, "flops_per_second": 2 * size**3 / fastest}


def environment(arguments) -> dict:
    """Returns the machine and the settings, for JSON and headings."""
    device = jax.local_devices()[0]
    machine = {"platform": device.platform, "device_kind": device.device_kind, "jax": jax.__version__}
    settings = {name: getattr(arguments, name) for name in ("size", "dtype", "remat", "rounds")}
    return machine | {"local_devices": jax.local_device_count()} | settings
