"""The tf.data pipeline: batches as a function of (seed, step), and every frame once for evaluation.

A batch is a flat dict; which fields it has depends on what is asked for:
  `image`, `prev_image`, `next_image`: [B, H, W, 3] uint8; training and inference make floats in [0, 1] of them on the
    device, see `training.replication.to_float`
  `intrinsics`: [B, 3, 3] in pixels of that image
  `label`: [B, H, W] uint8, 255 void
  `is_labeled`: [B] bool
  `disparity`: [B, H, W, 1] float32 in [0, 1], normalised per image
  `depth`: [B, H, W, 1] float32 in metres, inf where there is none (evaluation only)
  `id`: [B] bytes

What a batch consists of (frames, crops, flips) is drawn in numpy, a batch at a time, together with reading its records:
calls into Python are few, and reading overlaps with decoding, which tf.data spreads over threads.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from sdeseg_jax.data.classes import VOID
from sdeseg_jax.data.disparity_maps import DisparityFolder, normalize
from sdeseg_jax.data.frame_dataset import NEIGHBOURS, FrameDataset, ReadError, cut
from sdeseg_jax.data.intrinsics_ops import crop_intrinsics, flip_intrinsics
from sdeseg_jax.data.sample_order_and_crops import Choice, Stream, training_choices


def training_batches(
    streams: dict[str, Stream],
    crop: tuple[int, int],
    flip: bool,
    seed: int,
    first_step: int = 0,
    threads: int = 2,
    host: int = 0,
    hosts: int = 1,
) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """Yields {stream name: batch} for steps `first_step`, `first_step` + 1, ...

    Batch k is a function of (seed, k) alone: starting at any step costs nothing and gives what an uninterrupted
    run would have seen, with any number of threads. The hosts' batches one after the other are the batch that a single
    host with `hosts` times the batch size would see; each host reads its own samples only.

    Args:
      crop: (height, width) of random crops, the same for all frames and maps of a sample.
      flip: whether to flip horizontally with probability 0.5.
      threads: that read and decode.
      host, hosts: which host this is, and how many there are.

    Raises:
      ValueError: a stream has fewer frames than all hosts' batches together, or asks for what its dataset does not
        have; the crop is larger than the images; there is no such host.
    """
    _check_host(host, hosts)
    datasets, chooses = {}, training_choices(streams, crop, flip, seed, host, hosts)
    for name, stream in streams.items():
        _check_fields(f"the '{name}' stream", stream)
        _check_sizes(name, stream, crop, hosts)
        steps = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max)
        datasets[name] = _batches(stream, steps, chooses[name], tuple(crop), threads)
    return _iterator(tf.data.Dataset.zip(datasets).prefetch(4), threads, list(streams.values()))


def evaluation_batches(
    dataset: FrameDataset,
    indices: Sequence[int],
    batch_size: int,
    fields: Sequence[str],
    disparities: DisparityFolder | None = None,
    threads: int = 2,
    host: int = 0,
    hosts: int = 1,
) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Yields (batch, number of real samples) over whole images, in order, each once.

    The last batch is padded by repeating the last frame: one compiled program serves all, and the caller drops what
    stands beyond the number. Several hosts take batches in turns, and all of them the same number, so that they stay
    in step; at the end some may have batches with no real sample in them.

    Args:
      batch_size: of this host.
      host, hosts: which host this is, and how many there are.

    Raises:
      ValueError: at once, if a field is asked for that the dataset does not have, or a frame or neighbour that is not
        there; or there is no such host.
    """
    _check_host(host, hosts)
    stream = Stream(dataset, np.asarray(indices, np.int64), batch_size, tuple(fields), disparities=disparities)
    _check_fields("the evaluation", stream)
    count = len(stream.indices)

    def choose(step: int) -> Choice:
        places = (step * hosts + host) * batch_size + np.arange(batch_size)
        whole = np.zeros((batch_size, 2), np.int32)
        return Choice(stream.indices[np.minimum(places, count - 1)], whole, whole[:, 0] > 0, whole[:, 0] == 0)

    steps = tf.data.Dataset.range(-(-count // (batch_size * hosts)))
    batches = _iterator(_batches(stream, steps, choose, dataset.image_size, threads).prefetch(2), threads, [stream])
    firsts = itertools.count(host * batch_size, hosts * batch_size)
    return ((batch, int(np.clip(count - first, 0, batch_size))) for batch, first in zip(batches, firsts, strict=False))


def _check_host(host: int, hosts: int) -> None:
    if not 0 <= host < hosts:
        raise ValueError(f"there is no host {host} among {hosts}; they count from 0")


def _check_sizes(name: str, stream: Stream, crop, hosts: int) -> None:
    count, batch_size = len(stream.indices), stream.batch_size * hosts
    if count < batch_size:
        raise ValueError(f"the '{name}' stream has {count} frames, fewer than its batch of {batch_size}")
    size = stream.dataset.image_size
    if crop[0] > size[0] or crop[1] > size[1]:
        raise ValueError(f"config.data.crop = {tuple(crop)} is larger than the {stream.dataset.name} images {size}")


def _check_fields(who: str, stream: Stream) -> None:
    """Raises ValueError if a stream asks for what its dataset does not have; `who` begins the message."""
    dataset, index, fields = stream.dataset, stream.dataset.index, stream.fields
    where = f"{dataset.name}/{dataset.split}"
    absent = [name for name in fields if name not in (*dataset.fields, *NEIGHBOURS, "is_labeled", "disparity")]
    if absent:
        raise ValueError(f"{who} asks for '{absent[0]}', but {where} has only {', '.join(dataset.fields)}")
    if "disparity" in fields and stream.disparities is None:
        raise ValueError(f"{who} asks for 'disparity', but does not say where it is stored")
    indices = np.asarray(stream.indices, np.int64)
    outside = indices[(indices < 0) | (indices >= len(index))]
    if len(outside):
        raise ValueError(f"{who} asks for frame {outside[0]}, but {where} has {len(index)}")
    labeled = np.asarray([] if stream.labeled is None else stream.labeled, np.int64)
    for what, frames, present in (
        ("takes for annotated", labeled, index.is_labeled),
        ("asks for 'prev_image' of", indices if "prev_image" in fields else indices[:0], index.has_previous),
        ("asks for 'next_image' of", indices if "next_image" in fields else indices[:0], index.has_next),
    ):
        wrong = frames[~present[frames]]
        if len(wrong):
            raise ValueError(f"{who} {what} {len(wrong)} frames of {where} that are not, e.g. '{index.ids[wrong[0]]}'")


MAPS = (*NEIGHBOURS, "label", "disparity", "depth")
"""Fields with height and width first, which crops and flips apply to."""


def _batches(stream: Stream, steps: tf.data.Dataset, choose: Callable[[int], Choice], crop, threads) -> tf.data.Dataset:
    """A dataset of steps -> a dataset of batches of what is chosen for them."""
    dataset, fields = stream.dataset, stream.fields
    neighbours = [name for name in fields if NEIGHBOURS.get(name)]
    offsets = np.array([0, *(NEIGHBOURS[name] for name in neighbours)])

    def look_up(step: np.ndarray):
        choice = choose(int(step))
        records = dataset.records(choice.indices[:, None] + offsets)
        return records, choice.corner, choice.flipped, choice.labeled

    def read(step: tf.Tensor):
        found = tf.numpy_function(look_up, [step], (tf.string, tf.int32, tf.bool, tf.bool))
        shapes = (len(offsets),), (2,), (), ()
        return tuple(tf.ensure_shape(x, (stream.batch_size, *s)) for x, s in zip(found, shapes, strict=True))

    def decode(records: tf.Tensor, corner: tf.Tensor, flipped: tf.Tensor, is_labeled: tf.Tensor):
        window = None if crop == dataset.image_size else (corner[0], corner[1], *crop)
        sample = _decode_target(stream, records[0], window, is_labeled)
        for name, record in zip(neighbours, tf.unstack(records[1:]), strict=True):
            sample[name] = dataset.decode(record, ("image",), window)["image"]
        for name in sample:
            if name in MAPS:
                sample[name] = _flip(sample[name], flipped)
        if "label" in sample:
            sample["label"] = sample["label"][..., 0]
        if "intrinsics" in sample:
            intrinsics = crop_intrinsics(sample["intrinsics"], corner[0], corner[1])
            sample["intrinsics"] = tf.where(flipped, flip_intrinsics(intrinsics, crop[1]), intrinsics)
        return sample

    # One call after the other, but one ahead of the decoding: reading is a small part of the work.
    records = steps.map(read, num_parallel_calls=1, deterministic=True).unbatch()
    samples = records.map(decode, num_parallel_calls=threads, deterministic=True)
    return samples.batch(stream.batch_size, drop_remainder=True)


def _decode_target(stream: Stream, record: tf.Tensor, window, is_labeled: tf.Tensor) -> dict[str, tf.Tensor]:
    """The fields of a sample that come from its own record, and its disparity."""
    dataset = stream.dataset
    own = [name for name in stream.fields if name in dataset.fields and name != "label"]
    stored = dataset.decode(record, sorted({*own, "id"}), window)
    sample = {name: stored[name] for name in own}
    if "label" in stream.fields:
        size = window[2:] if window else dataset.image_size
        sample["label"] = tf.cond(
            is_labeled,
            lambda: dataset.decode(record, ("label",), window)["label"],
            lambda: tf.fill((*size, 1), tf.constant(VOID, tf.uint8)),
        )
    if "is_labeled" in stream.fields:
        sample["is_labeled"] = is_labeled
    if "disparity" in stream.fields:
        sample["disparity"] = cut(normalize(stream.disparities.read(stored["id"])), window)
    return sample


def _flip(value: tf.Tensor, flipped: tf.Tensor) -> tf.Tensor:
    return tf.cond(flipped, lambda: tf.reverse(value, axis=[1]), lambda: value)


def _iterator(batches: tf.data.Dataset, threads: int, streams: Sequence[Stream]) -> Iterator:
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1  # else operations use more threads than these
    options.deterministic = True
    return _readable(batches.with_options(options).as_numpy_iterator(), streams)


OWN_ERRORS = ("AssertionError", "AttributeError", "IndexError", "KeyError", "NameError", "TypeError")
"""Errors in Python that are this program's, not the data's."""


def _readable(batches: Iterator, streams: Sequence[Stream]) -> Iterator:
    """Says where data lies that cannot be read: it was deleted, or its disk is out of reach."""
    try:
        yield from batches
    except tf.errors.OpError as error:
        # TensorFlow puts the name of its own node first.
        reason = re.sub(r"\{\{.*?\}\}", "", str(error)).strip().splitlines() or [type(error).__name__]
        if isinstance(error, tf.errors.ResourceExhaustedError) or reason[0].startswith(OWN_ERRORS):
            raise
        advice = {stream.dataset.how_to_prepare() for stream in streams}
        damaged = [path for stream in streams if stream.disparities for path in stream.disparities.damaged()]
        if any(stream.disparities and str(stream.disparities.folder) in reason[0] for stream in streams):
            advice = {"--job=estimate_depth (or estimate_source_depth) makes stored disparity again"}
        if damaged:
            advice = {f"remove {damaged[0]} ({len(damaged)} such files), and --job=estimate_depth makes them again"}
        raise ReadError(
            f"a sample cannot be read any more: {reason[0]}\nIs the disk out of reach, or was something deleted or "
            f"damaged? Then {'; or '.join(sorted(advice))}. After that, the same command goes on."
        ) from error
