"""Matching Geometry Sampling: pairs of target and source crops per second with five candidates and with one.

Next to a loader that reads five whole samples to keep one. 512x512 crops from 1024x512 records with stored disparity.
"""

import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from sdeseg_jax.commands.benchmarks.input import render, write_source

BATCH = 2
CANDIDATES = 5
POOL = ("image", "prev_image", "next_image", "intrinsics", "label", "is_labeled", "disparity")
SOURCE = ("image", "label", "disparity")


def write_disparities(folder: pathlib.Path, dataset, clips: int, frames: int):
    """Stores the true disparity, enlarged, for the frames of `write_source`."""
    import tensorflow as tf

    from sdeseg_jax.data.disparity_maps import DisparityFolder

    height, width = dataset.image_size
    disparities, names = DisparityFolder(folder, dataset.split), iter(dataset.index.ids)
    for clip in render(clips, frames, (width, height)):
        for depth in clip["depth"]:
            disparity = tf.image.resize(1 / np.maximum(depth, 1.0)[..., None], (height, width), "bicubic")
            disparities.write(next(names), np.asarray(disparity))
    return disparities


def pairs_per_second(batches: Iterator, seconds: float, keep=None) -> float:
    """Returns how many pairs per second the pipeline gives; `keep` then chooses among the candidates."""
    start, made = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        batch = next(batches)
        if keep:
            keep(batch)
        made += BATCH
    return made / (time.perf_counter() - start)


def keep_nearest(batch: dict) -> dict:
    """Returns the nearest of five whole source samples for every target sample."""
    from sdeseg_jax.adaptation.geometry_matching import geometric_difference, log_disparity

    pool, source = (log_disparity(batch[name]["disparity"][..., 0]) for name in ("pool", "source"))
    found = geometric_difference(pool[:, None], source.reshape(BATCH, CANDIDATES, *source.shape[1:]))
    places = np.arange(BATCH) * CANDIDATES + np.argmin(found, axis=1)
    return {name: values[places] for name, values in batch["source"].items()}


def measure(arguments) -> dict:
    """Measures with the command line's arguments."""
    return benchmark_matching(arguments.seconds, arguments.rounds)


def benchmark_matching(seconds: float, rounds: int, size=(1024, 512), crop: int = 512, clips: int = 12) -> dict:
    """Measures the loaders in turns; arguments as for `input.benchmark_input`.

    Returns:
      pairs per second by loader, time per pair relative to that of one candidate, and facts.
    """
    from sdeseg_jax.data.datasets import open_split
    from sdeseg_jax.data.input_pipeline import training_batches
    from sdeseg_jax.data.preparation import prepare_from_source
    from sdeseg_jax.data.sample_order_and_crops import Matching, Stream
    from sdeseg_jax.data.stored_geometry import geometry_stride, open_geometry

    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_source(folder, clips, 6, size)
        prepare_from_source("camvid", name, str(folder / "prepared"), size)
        dataset = open_split("camvid", "train", str(folder / "prepared"))
        disparities = write_disparities(folder / "disparity", dataset, clips, 6)
        frames, labeled = dataset.index.with_neighbours, dataset.index.labeled
        geometry = open_geometry(folder / "geometry", disparities, dataset, labeled, geometry_stride((crop, crop)))
        pool = Stream(dataset, frames, BATCH, POOL, labeled[::30], disparities, salt=2)

        def batches(batch_size: int, matching: Matching | None) -> Iterator:
            source = Stream(dataset, labeled, batch_size, SOURCE, labeled, disparities, 3, matching)
            return training_batches({"pool": pool, "source": source}, (crop, crop), True, 0, threads=cores)

        one, whole = batches(BATCH, None), batches(BATCH * CANDIDATES, None)
        five = batches(BATCH, Matching("pool", geometry, geometry, CANDIDATES))
        loaders = {
            "1 candidate": lambda: pairs_per_second(one, seconds),
            f"{CANDIDATES} candidates": lambda: pairs_per_second(five, seconds),
            f"{CANDIDATES} whole samples": lambda: pairs_per_second(whole, seconds, keep_nearest),
        }
        for loader in loaders.values():
            loader()  # fills caches
        measured = [{name: loader() for name, loader in loaders.items()} for _ in range(rounds)]
    rates = {name: statistics.median(m[name] for m in measured) for name in loaders}
    times = {name: statistics.median(m["1 candidate"] / m[name] for m in measured) for name in loaders}
    facts = {"cores": cores, "image": list(size), "crop": crop, "rounds": rounds}
    return facts | {"pairs_per_second": rates, "relative_time": times}


def show(result: dict) -> str:
    """Returns the table."""
    lines = [
        f"{result['crop']}x{result['crop']} crops of {result['image'][0]}x{result['image'][1]} images, "
        f"{result['cores']} cores: a target frame with neighbours and disparity, and the source frame matched to it",
        f"{'':<20}{'pairs per second':>18}{'relative time':>16}",
    ]
    for name, value in result["pairs_per_second"].items():
        lines.append(f"{name:<20}{value:>18.1f}{result['relative_time'][name]:>15.2f}x")
    return "\n".join(lines)
