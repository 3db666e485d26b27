"""Data selection: picks per second and peak memory, next to a version that stores the distances of all pairs.

Each measurement has its own process, since peak memory is measured per process. Features are random; their values do
not change the work. Times include loading and compiling. The distances come from one matrix product, the fastest way,
and are left out where they would not fit into the machine's memory.
"""

import concurrent.futures
import multiprocessing
import os
import pathlib
import tempfile
import time

import numpy as np

RESERVE = 2**31
"""Bytes of memory to keep free besides the distances."""


def write_features(path: pathlib.Path, frames: int, dimensions: int) -> None:
    """Writes standard normal features as the job stores them."""
    rng = np.random.default_rng(0)
    out = np.lib.format.open_memmap(path, "w+", np.float16, (frames, dimensions))
    for start in range(0, frames, 1000):
        out[start : start + 1000] = rng.standard_normal((min(1000, frames - start), dimensions), np.float32)


def memory(name: str) -> int:
    """Returns the bytes that this process holds ("VmRSS") or held at its peak ("VmHWM"), on Linux."""
    # Not getrusage: its maximum includes that of the parent process.
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def by_running_minimum(path: str, picks: int) -> dict:
    """Chooses as the job does, with `Coverage` on all devices."""
    import jax

    from sdeseg_jax.jobs.selecting.farthest_point_multi_device import Coverage

    jax.devices()
    before, began = memory("VmRSS"), time.perf_counter()
    features = np.load(path, mmap_mode="r")
    coverage = Coverage(features, np.arange(len(features)), np.ones(len(features), bool))
    jax.block_until_ready(coverage.nearest)
    loaded = time.perf_counter()
    chosen = coverage.choose(picks)
    done = time.perf_counter()
    return {
        "setup": loaded - began,
        "choosing": done - loaded,
        "memory": memory("VmHWM") - before,
        "order": [int(i) for i in chosen.index],
        "device": str(jax.devices()[0].device_kind),
    }


def by_matrix(path: str, picks: int) -> dict:
    """Computes the distances of all pairs with NumPy, then reads one row per pick."""
    before, began = memory("VmRSS"), time.perf_counter()
    features = np.load(path).astype(np.float32)
    norms = np.einsum("nd,nd->n", features, features)
    matrix = features @ features.T
    matrix *= -2
    matrix += norms[:, None]
    matrix += norms
    np.sqrt(np.maximum(matrix, 0, out=matrix), out=matrix)
    loaded = time.perf_counter()
    order, nearest = [len(features) - 1], matrix[-1].copy()
    nearest[order[0]] = -np.inf
    while len(order) < picks:
        best = int(nearest.argmax())
        order.append(best)
        np.minimum(nearest, matrix[best], out=nearest)
        nearest[best] = -np.inf
    done = time.perf_counter()
    return {"setup": loaded - began, "choosing": done - loaded, "memory": memory("VmHWM") - before, "order": order}


def in_process(function, *arguments) -> dict:
    """Runs a function in a new process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def measure(arguments) -> dict:
    """Measures all pool sizes.

    Returns:
      Facts and `runs`: seconds, bytes and picks per second of both versions per pool size; None if it does not fit.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    runs = []
    for frames in arguments.frames:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "features.npy")
            write_features(path, frames, arguments.dimensions)
            picks = min(arguments.picks, frames)
            ours = in_process(by_running_minimum, str(path), picks)
            # Features twice: float16 as read, and float32.
            needed = 4 * frames**2 + 6 * frames * arguments.dimensions + RESERVE
            matrix = in_process(by_matrix, str(path), picks) if needed < total else None
        run = {
            "frames": frames,
            "picks": picks,
            "matrix_bytes": 4 * frames**2,
            "running minimum": ours,
            "matrix": matrix,
        }
        for one in filter(None, (ours, matrix)):
            one["picks_per_second"] = picks / (one["setup"] + one["choosing"])
        if matrix:
            order = matrix.pop("order")
            run["same_picks"] = sum(a == b for a, b in zip(ours["order"], order, strict=True))
        ours.pop("order")
        runs.append(run)
    return {"cores": os.cpu_count(), "dimensions": arguments.dimensions, "memory": total, "runs": runs}


def show(result: dict) -> str:
    """Returns the table."""
    device = result["runs"][0]["running minimum"]["device"]
    lines = [
        f"{result['dimensions']} dimensions, {result['cores']} cores, {device}; picks per second include all times",
        f"{'frames':>8} {'picks':>6} {'version':<18}{'before [s]':>11}{'choosing [s]':>13}{'picks/s':>9}{'memory':>10}",
    ]
    for run in result["runs"]:
        for name in ("running minimum", "matrix"):
            start = f"{run['frames']:>8} {run['picks']:>6} {name:<18}"
            if one := run[name]:
                values = f"{one['setup']:>11.2f}{one['choosing']:>13.2f}{one['picks_per_second']:>9.1f}"
                lines.append(f"{start}{values}{one['memory'] / 2**30:>6.2f} GiB")
            else:
                lines.append(f"{start}  does not fit: the distances alone take {run['matrix_bytes'] / 2**30:.0f} GiB")
        if run["matrix"]:
            ratio = run["running minimum"]["picks_per_second"] / run["matrix"]["picks_per_second"]
            memory = run["matrix"]["memory"] / run["running minimum"]["memory"]
            lines.append(
                f"{'':>16}{ratio:.1f}x the picks per second in 1/{memory:.1f} of the memory; "
                f"{run['same_picks']} of {run['picks']} picks are the same"
            )
    return "\n".join(lines)
