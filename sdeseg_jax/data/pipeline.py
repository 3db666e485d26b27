"""The tf.data pipeline: batches as a function of (seed, step), and every frame once for evaluation.

A batch is a flat dict; which fields it has depends on what is asked for:
  `image`, `prev_image`, `next_image`: [B, H, W, 3] float32 in [0, 1]
  `intrinsics`: [B, 3, 3] in pixels of that image
  `label`: [B, H, W] uint8, 255 void
  `is_labeled`: [B] bool
  `disparity`: [B, H, W, 1] float32 in [0, 1], normalised per image
  `depth`: [B, H, W, 1] float32 in metres, inf where there is none (evaluation only)
  `id`: [B] bytes
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from sdeseg_jax.data.classes import VOID
from sdeseg_jax.data.disparities import DisparityFolder
from sdeseg_jax.data.frames import NEIGHBOURS, FrameDataset
from sdeseg_jax.data.intrinsics import crop_intrinsics, flip_intrinsics


@dataclasses.dataclass(frozen=True)
class Stream:
    """An endless, shuffled stream of training crops.

    Attributes:
      dataset: where frames come from.
      indices: record indices to draw from, each once per epoch.
      batch_size: of this host.
      fields: batch fields to make, see the module's docstring.
      labeled: record indices that count as annotated; labels of others are void, whatever the dataset holds.
      disparities: where `disparity` is read from.
      salt: separates the randomness of streams with the same seed.
    """

    dataset: FrameDataset
    indices: np.ndarray
    batch_size: int
    fields: tuple[str, ...]
    labeled: np.ndarray | None = None
    disparities: DisparityFolder | None = None
    salt: int = 0


def training_batches(
    streams: dict[str, Stream],
    crop: tuple[int, int],
    flip: bool,
    seed: int,
    first_step: int = 0,
    threads: int = 2,
) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """Yields {stream name: batch} for steps `first_step`, `first_step` + 1, ...

    Batch k is a function of (seed, k) alone: starting at any step costs nothing and gives what an uninterrupted
    run would have seen, with any number of threads.

    Args:
      crop: (height, width) of random crops, the same for all frames and maps of a sample.
      flip: whether to flip horizontally with probability 0.5.
      threads: that read and decode.

    Raises:
      ValueError: a stream has fewer frames than its batch, or the crop is larger than the images.
    """
    datasets = {}
    for name, stream in streams.items():
        if len(stream.indices) < stream.batch_size:
            raise ValueError(
                f"the '{name}' stream has {len(stream.indices)} frames, fewer than its batch of {stream.batch_size}"
            )
        size = stream.dataset.image_size
        if crop[0] > size[0] or crop[1] > size[1]:
            raise ValueError(f"config.data.crop = {tuple(crop)} is larger than the {stream.dataset.name} images {size}")
        datasets[name] = _stream_dataset(stream, crop, flip, seed, first_step, threads)
    zipped = tf.data.Dataset.zip(datasets).prefetch(4)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.deterministic = True
    return zipped.with_options(options).as_numpy_iterator()


def _stream_dataset(stream: Stream, crop, flip, seed, first_step, threads) -> tf.data.Dataset:
    count = len(stream.indices)
    indices = tf.constant(stream.indices, tf.int64)
    is_labeled = np.zeros(len(stream.dataset.index), bool)
    if stream.labeled is not None:
        is_labeled[stream.labeled] = True
    is_labeled = tf.constant(is_labeled)
    stream_seed = (seed * 1009 + stream.salt) % 2**31

    def make_sample(position):
        epoch, place = position // count, position % count
        epoch_seed = tf.stack([stream_seed, tf.cast(epoch, tf.int32)])
        place = tf.random.experimental.index_shuffle(place, epoch_seed, count - 1)
        index = indices[place]
        sample = _read_sample(stream.dataset, index, stream.fields, stream.disparities)
        if "label" in sample:
            sample["label"] = tf.where(is_labeled[index], sample["label"], tf.constant(VOID, tf.uint8))
        if "is_labeled" in stream.fields:
            sample["is_labeled"] = is_labeled[index]
        sample_seed = tf.stack([stream_seed, tf.cast(position, tf.int32)])
        return _augment(sample, stream.dataset.image_size, crop, flip, sample_seed)

    first = first_step * stream.batch_size
    dataset = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
    dataset = dataset.map(make_sample, num_parallel_calls=threads, deterministic=True)
    return dataset.batch(stream.batch_size, drop_remainder=True).map(_to_float)


def _read_sample(dataset: FrameDataset, index, fields, disparities) -> dict[str, tf.Tensor]:
    own = [name for name in fields if name in dataset.fields]
    stored = dataset.read(index, sorted({*own, "id"}))
    sample = {name: stored[name] for name in own}
    for name, offset in NEIGHBOURS.items():
        if name in fields and offset:
            sample[name] = dataset.read(index + offset, ["image"])["image"]
    if "label" in sample:
        sample["label"] = sample["label"][..., 0]
    if "disparity" in fields:
        sample["disparity"] = _min_max(disparities.read(stored["id"]))
    return sample


def _min_max(disparity: tf.Tensor) -> tf.Tensor:
    low, high = tf.reduce_min(disparity), tf.reduce_max(disparity)
    return tf.math.divide_no_nan(disparity - low, high - low)


MAPS = (*NEIGHBOURS, "label", "disparity", "depth")
"""Fields with height and width first, which crops and flips apply to."""


def _augment(sample, size, crop, flip, seed) -> dict[str, tf.Tensor]:
    draws = tf.random.stateless_uniform((3,), seed)
    top = tf.cast(draws[0] * tf.cast(size[0] - crop[0] + 1, tf.float32), tf.int32)
    left = tf.cast(draws[1] * tf.cast(size[1] - crop[1] + 1, tf.float32), tf.int32)
    flipped = tf.logical_and(flip, draws[2] < 0.5)
    out = dict(sample)
    for name in MAPS:
        if name in sample:
            value = sample[name][top : top + crop[0], left : left + crop[1]]
            value = tf.cond(flipped, lambda value=value: tf.reverse(value, axis=[1]), lambda value=value: value)
            out[name] = tf.ensure_shape(value, (*crop, *sample[name].shape[2:]))
    if "intrinsics" in sample:
        intrinsics = crop_intrinsics(sample["intrinsics"], top, left)
        out["intrinsics"] = tf.where(flipped, flip_intrinsics(intrinsics, crop[1]), intrinsics)
    return out


def _to_float(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: tf.cast(x, tf.float32) / 255.0 if name in NEIGHBOURS else x for name, x in batch.items()}


def evaluation_batches(
    dataset: FrameDataset,
    indices: Sequence[int],
    batch_size: int,
    fields: Sequence[str],
    disparities: DisparityFolder | None = None,
    threads: int = 2,
) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Yields (batch, number of real samples) over whole images, in order, each once.

    The last batch is padded by repeating its last frame: one compiled program serves all, and the caller drops
    what stands beyond the number.
    """
    indices = np.asarray(indices, np.int64)
    padded = np.concatenate([indices, np.repeat(indices[-1:], -len(indices) % batch_size)])
    batches = tf.data.Dataset.from_tensor_slices(padded)
    batches = batches.map(
        lambda index: _read_sample(dataset, index, tuple(fields), disparities), num_parallel_calls=threads
    )
    batches = batches.batch(batch_size, drop_remainder=True).map(_to_float).prefetch(2)
    for number, batch in enumerate(batches.as_numpy_iterator()):
        yield batch, min(batch_size, len(indices) - number * batch_size)
