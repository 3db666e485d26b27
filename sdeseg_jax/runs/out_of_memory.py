"""What to do when a device's memory does not suffice."""

import math
import re


def is_out_of_memory(error: BaseException) -> bool:
    """Whether XLA says so, of a GPU, a TPU or the CPU."""
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()


def out_of_memory(config, error: BaseException) -> str:
    """A message that names the settings which save memory, those that help most without changing results first."""
    found = re.search(r"allocat\w+ (?:of )?(?:size )?([\d.]+ ?(?:[KMGT]i?B|bytes)?)", str(error))
    wanted = f" ({found.group(1)} were asked for)" if found else ""
    batches = {key: config[key].batch_size for key in ("segmentation", "depth", "estimate", "evaluation", "predict")}
    height, width = config.data.crop
    smaller = tuple(32 * max(1, math.floor(0.75 * side / 32)) for side in (height, width))
    levers = [
        "--config.model.remat=True: recompute activations in the backward pass; the same result, about a third slower",
        "--config.model.dtype=bfloat16: half the size of activations (parameters, geometry and losses stay float32)",
        f"--config.data.crop='{smaller}': smaller crops than {(height, width)}",
        "a smaller batch, now " + ", ".join(f"--config.{key}.batch_size={size}" for key, size in batches.items()),
        "more devices: the batch is split among them",
    ]
    if config.model.remat:
        levers.pop(0)
    if config.model.dtype == "bfloat16":
        levers.remove(next(lever for lever in levers if "bfloat16" in lever))
    return f"out of device memory{wanted}. What helps, in this order:\n  " + "\n  ".join(levers)
