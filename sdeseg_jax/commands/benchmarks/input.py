"""Input pipeline: 512x512 crops per second from 1024x512 records, next to a plain PIL and NumPy loader.

The plain loader reads the same images as files, in one thread and in a process per core.
"""

import concurrent.futures
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

TRAINER = 60
"""Image triplets per second that training on one H200 consumes, about."""

BATCH = 4
TRIPLET = ("image", "prev_image", "next_image", "intrinsics")
LABELED = ("image", "label")


def render(clips: int, frames: int, size: tuple[int, int]) -> Iterator[dict]:
    """Renders clips of Streets at a quarter of `size` (width, height)."""
    from sdeseg_jax.data.worker_processes import run_parallel

    options = {"split": "train", "frames": frames, "width": size[0] // 4, "height": size[1] // 4}
    tasks = [{"index": i, **options} for i in range(clips)]
    return run_parallel("sdeseg_jax.data.streets.clip_renderer:render_task", tasks)


def write_source(folder: pathlib.Path, clips: int, frames: int, size: tuple[int, int]) -> None:
    """Renders Streets in CamVid's layout, with noise that makes its JPEG files about as large as photographs."""
    for name in ("train", "trainannot", "files"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i, clip in enumerate(render(clips, frames, size)):
        for t in range(frames):
            image = np.asarray(Image.fromarray(clip["image"][t]).resize(size, Image.Resampling.BICUBIC), np.float32)
            pixels = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
            label = Image.fromarray((clip["label"][t] % 11).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
            name = f"{i:03d}_{2 * t:05d}"
            Image.fromarray(pixels).save(folder / "train" / f"{name}.png", compress_level=1)
            Image.fromarray(pixels).save(folder / "files" / f"{name}.jpg", quality=95, subsampling="4:2:0")
            label.save(folder / "trainannot" / f"{name}.png")


def load_plainly(folder: str, names: list[str], fields: tuple[str, ...], crop: int, seed: int, seconds: float) -> int:
    """Runs a plain loader that decodes, crops, flips and stacks images as floats; returns the crops in `seconds`."""
    rng, start, made = np.random.default_rng(seed), time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        samples: dict[str, list] = {}
        for _ in range(BATCH):
            i = int(rng.integers(1, len(names) - 1))
            offsets = {"image": 0, "prev_image": -1, "next_image": 1}
            paths = {field: f"{folder}/files/{names[i + at]}.jpg" for field, at in offsets.items() if field in fields}
            pictures = {field: Image.open(path).convert("RGB") for field, path in paths.items()}
            if "label" in fields:
                pictures["label"] = Image.open(f"{folder}/trainannot/{names[i]}.png")
            width, height = pictures["image"].size
            left, top = int(rng.integers(0, width - crop + 1)), int(rng.integers(0, height - crop + 1))
            flipped = rng.random() < 0.5
            for field, picture in pictures.items():
                array = np.asarray(picture)[top : top + crop, left : left + crop]
                samples.setdefault(field, []).append(array[:, ::-1] if flipped else array)
        batch = {field: np.stack(arrays) for field, arrays in samples.items()}
        batch |= {field: x.astype(np.float32) / 255 for field, x in batch.items() if field != "label"}
        made += BATCH
    return made


def read_pipeline(batches: Iterator, seconds: float) -> int:
    """Returns how many crops the pipeline gives in `seconds`."""
    start, made = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        made += len(next(batches)["s"]["image"])
    return made


def measure(arguments) -> dict:
    """Measures with the command line's arguments."""
    return benchmark_input(arguments.seconds, arguments.rounds)


def benchmark_input(seconds: float, rounds: int, size=(1024, 512), crop: int = 512, clips: int = 12) -> dict:
    """Measures the input pipeline and plain loaders in turns.

    Args:
      seconds: length of a measurement.
      rounds: number of measurements; medians are reported.
      size: (width, height) of the stored images.
      crop: side of the crops, pixels.
      clips: number of clips of six frames.

    Returns:
      crops per second (for triplets: of three images each) by kind of batch and loader, ratios, and facts.
    """
    from sdeseg_jax.data.datasets import open_split
    from sdeseg_jax.data.input_pipeline import training_batches
    from sdeseg_jax.data.preparation import prepare_from_source
    from sdeseg_jax.data.sample_order_and_crops import Stream

    cores = os.cpu_count() or 1
    result: dict = {"cores": cores, "image": list(size), "crop": crop}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_source(folder, clips, 6, size)
        prepare_from_source("camvid", name, str(folder / "prepared"), size)
        names = sorted(path.stem for path in (folder / "files").iterdir())
        result["kilobytes_per_image"] = sum(p.stat().st_size for p in (folder / "files").iterdir()) / len(names) / 1000
        dataset = open_split("camvid", "train", str(folder / "prepared"))
        context = multiprocessing.get_context("spawn")  # a fork of TensorFlow's threads may hang
        with concurrent.futures.ProcessPoolExecutor(cores, context) as pool:
            for kind, fields in (("labelled", LABELED), ("triplets", TRIPLET)):
                stream = Stream(dataset, dataset.index.with_neighbours, BATCH, fields, dataset.index.labeled)
                batches = training_batches({"s": stream}, (crop, crop), True, 0, threads=cores)
                plain = (name, names, fields, crop)

                def in_processes(plain=plain) -> float:
                    made = [pool.submit(load_plainly, *plain, seed, seconds) for seed in range(cores)]
                    return sum(one.result() for one in made)

                loaders: dict[str, Callable[[], float]] = {
                    "pipeline": lambda batches=batches: read_pipeline(batches, seconds),
                    "plain, one thread": lambda plain=plain: load_plainly(*plain, 0, seconds),
                    "plain, a process per core": in_processes,
                }
                for loader in loaders.values():
                    loader()  # starts processes and fills caches
                measured = [{one: loader() / seconds for one, loader in loaders.items()} for _ in range(rounds)]
                result[kind] = {one: statistics.median(m[one] for m in measured) for one in loaders}
                for one in list(loaders)[1:]:
                    result[kind][f"ratio to {one}"] = statistics.median(m["pipeline"] / m[one] for m in measured)
    result["trainer_triplets_per_second"] = TRAINER
    result["trainer_waits"] = max(0.0, 1 - result["triplets"]["pipeline"] / TRAINER)
    return result


def show(result: dict) -> str:
    """Returns the table."""
    lines = [
        f"{result['crop']}x{result['crop']} crops of {result['image'][0]}x{result['image'][1]} images "
        f"({result['kilobytes_per_image']:.0f} kB each), {result['cores']} cores; crops per second",
        f"{'':<34}{'labelled':>10}{'triplets':>10}",
    ]
    for name in result["labelled"]:
        values = [result[kind][name] for kind in ("labelled", "triplets")]
        unit = "{:>9.2f}x" if name.startswith("ratio") else "{:>10.1f}"
        lines.append(f"{name:<34}" + "".join(unit.format(value) for value in values))
    lines += [
        f"With these {result['cores']} cores, training at {result['trainer_triplets_per_second']} triplets per second "
        f"would wait for data {result['trainer_waits']:.0%} of the time.",
        "The plain loader in processes does not hand over its batches; a real one is slower.",
    ]
    return "\n".join(lines)
