"""Features of all frames of a selection (Sec. 3.2), computed once, a batch at a time, and stored."""

import json
import pathlib

import jax
import numpy as np

from sdeseg_jax.config import UserError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.runs import build_networks
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.selection.pooled_features import ChannelStatistics, pool_features
from sdeseg_jax.training.initialization import load_variables
from sdeseg_jax.training.progress_line import ProgressLine
from sdeseg_jax.training.replication import replicate_inference, round_up

CHUNK = 256
"""Frames that are normalised at once."""

SAVE_EVERY = 50
"""Batches after which progress is saved."""


def predict_features(network, size: tuple[int, int]):
    """Function of (variables, images [B, H, W, 3]) -> pooled features [B, *size, C] float32, on all devices."""

    def function(variables, images: jax.Array) -> jax.Array:
        return pool_features(network.apply(variables, images, train=False).decoder_features, size)

    return replicate_inference(function)


def frame_features(config, dataset: FrameDataset, frames: np.ndarray, workdir: Workdir) -> np.ndarray:
    """Returns features of frames; computes those that are not stored yet.

    Args:
      frames: record indices; the same in every call in this workdir.

    Returns:
      float16 [N, D], normalised per channel over these frames; a memory-mapped file. In trials on Streets, float16
      chose the same set of frames as float32; bfloat16 and int8 did not.

    Raises:
      UserError: some are not finite; the frames are named.
    """
    folder = workdir.folder("select_labels") / "features"
    path, raw, progress = folder / "features.npy", folder / "raw.npy", folder / "progress.json"
    if not path.exists():
        _compute(config, dataset, frames, workdir, raw, progress)
        _normalize(raw, path)
    for leftover in (progress, raw):
        leftover.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def _compute(
    config, dataset: FrameDataset, frames: np.ndarray, workdir: Workdir, raw: pathlib.Path, progress: pathlib.Path
) -> None:
    """Fills `raw`, float32 [N, rows, columns, C], from the saved progress on."""
    done, out = 0, None
    if raw.exists() and progress.exists():
        done, out = json.loads(progress.read_text())["done"], np.load(raw, mmap_mode="r+")
    predict = predict_features(build_networks.depth_network(config), tuple(config.selection.feature_size))
    checkpoints = workdir.folder("pretrain_depth") / "checkpoints"
    variables = load_variables(checkpoints)
    batch_size, line = round_up(config.estimate.batch_size), ProgressLine("features", len(frames), done)
    batches = evaluation_batches(dataset, frames[done:], batch_size, ("image",)) if done < len(frames) else ()
    for number, (batch, count) in enumerate(batches, 1):
        features = predict(variables, batch["image"])[:count]
        finite = np.isfinite(features).all((1, 2, 3))
        if not finite.all():
            names = [dataset.index.ids[frames[done + i]] for i in np.flatnonzero(~finite)]
            raise UserError(
                f"features of {len(names)} frames are not finite: {', '.join(names)}. The depth network in "
                f"{checkpoints} has diverged or is damaged; train it again with a lower config.depth.learning_rate"
            )
        if out is None:
            raw.parent.mkdir(parents=True, exist_ok=True)
            out = np.lib.format.open_memmap(raw, "w+", np.float32, (len(frames), *features.shape[1:]))
        out[done : done + count] = features
        done += count
        if number % SAVE_EVERY == 0 or done == len(frames):
            out.flush()
            write_json(progress, {"done": done})
            line.show(done)


def _normalize(raw: pathlib.Path, path: pathlib.Path) -> None:
    """Writes the normalised features; the file is complete whenever it exists."""
    features, statistics = np.load(raw, mmap_mode="r"), ChannelStatistics()
    starts = range(0, len(features), CHUNK)
    for start in starts:
        statistics.add(features[start : start + CHUNK])
    temporary = path.with_suffix(".tmp")
    out = np.lib.format.open_memmap(temporary, "w+", np.float16, (len(features), int(np.prod(features.shape[1:]))))
    for start in starts:
        chunk = statistics.normalize(features[start : start + CHUNK])
        out[start : start + len(chunk)] = chunk.reshape(len(chunk), -1)
    out.flush()
    temporary.replace(path)
