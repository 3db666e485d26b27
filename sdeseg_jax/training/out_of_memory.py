"""Recognises that a device ran out of memory, and suggests settings that save memory."""

import math
import re


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU, a TPU or the CPU ran out of memory, by the text of XLA's error."""
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()


def out_of_memory(config, error: BaseException) -> str:
    """Returns a message with settings that save memory; those that help most without changing results come first."""
    import jax  # here, because the command line checks a config without it

    from sdeseg_jax.training.replication import smallest_batch

    found = re.search(r"allocat\w+ (?:of )?(?:size )?([\d.]+ ?(?:[KMGT]i?B|bytes)?)", str(error))
    wanted = f" ({found.group(1)} requested)" if found else ""
    batches = {key: config[key].batch_size for key in ("segmentation", "depth", "estimate", "evaluation", "predict")}
    height, width = config.data.crop
    smaller = tuple(32 * max(1, math.floor(0.75 * side / 32)) for side in (height, width))
    smallest = smallest_batch(jax.device_count(), config.model.sync_batch_norm)
    levers = [
        f"--config.data.crop='{smaller}': smaller crops than {(height, width)}",
        "a smaller batch, now "
        + ", ".join(f"--config.{key}.batch_size={size}" for key, size in batches.items())
        + f"; a training's (segmentation, depth, selection) not below {smallest}: BatchNorm needs two images",
        "more devices: the batch is split among them",
    ]
    if config.model.dtype != "bfloat16":
        levers.insert(
            0, "--config.model.dtype=bfloat16: half the memory for activations; weights and losses stay float32"
        )
    if not config.model.remat:
        levers.insert(0, "--config.model.remat=True: recompute activations; the same result, about a third slower")
    return f"out of device memory{wanted}. Try, in this order:\n  " + "\n  ".join(levers)
