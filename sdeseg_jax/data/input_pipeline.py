"""The tf.data pipeline: batches as a function of (seed, step), and every frame once for evaluation.

A batch is a flat dict of the requested fields:
  `image`, `prev_image`, `next_image`: [B, H, W, 3] uint8; the device converts them to floats in [0, 1], see
    `training.replication.to_float`
  `intrinsics`: [B, 3, 3] in pixels of that image
  `label`: [B, H, W] uint8, 255 void
  `is_labeled`: [B] bool
  `disparity`: [B, H, W, 1] float32 in [0, 1], normalised per image
  `depth`: [B, H, W, 1] float32 in metres, inf where unknown (evaluation only)
  `id`: [B] bytes

One call into Python per batch draws its frames, crops and flips with NumPy and reads its records. It overlaps with
decoding, which tf.data spreads over threads.
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

    Batch k is a function of (seed, k) alone, whatever the number of threads: starting at any step costs nothing and
    gives the batches of an uninterrupted run. The batches of all hosts, concatenated, are the batch of a single host
    with `hosts` times the batch size; each host reads only its own samples.

    Args:
      crop: (height, width) of random crops, the same for all frames and maps of a sample.
      flip: whether to flip horizontally with probability 0.5.
      threads: number of threads that read and decode.
      host, hosts: number of this host (from 0), and how many there are.

    Raises:
      ValueError: a stream has fewer frames than one batch over all hosts, or asks for data that its dataset does not
        have; the crop is larger than the images; the host does not exist.
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

    The last batch is padded by repeating the last frame, so that one compiled program serves all; the caller drops the
    padding. Hosts take turns and get the same number of batches, so that they stay in step; some of the last batches
    may have no real sample.

    Args:
      batch_size: of this host.
      host, hosts: number of this host (from 0), and how many there are.

    Raises:
      ValueError: at once, if the dataset lacks a field, frame or neighbour, or the host does not exist.
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
        raise ValueError(f"host {host} does not exist: {hosts} hosts are numbered from 0")


def _check_sizes(name: str, stream: Stream, crop, hosts: int) -> None:
    count, batch_size = len(stream.indices), stream.batch_size * hosts
    if count < batch_size:
        raise ValueError(f"the '{name}' stream has {count} frames, fewer than its batch of {batch_size}")
    size = stream.dataset.image_size
    if crop[0] > size[0] or crop[1] > size[1]:
        raise ValueError(f"config.data.crop: {tuple(crop)} is larger than the images of {stream.dataset.name}, {size}")


def _check_fields(who: str, stream: Stream) -> None:
    """Raises ValueError if a stream asks for data that its dataset does not have; `who` begins the message."""
    dataset, index, fields = stream.dataset, stream.dataset.index, stream.fields
    where = f"{dataset.name}/{dataset.split}"
    absent = [name for name in fields if name not in (*dataset.fields, *NEIGHBOURS, "is_labeled", "disparity")]
    if absent:
        raise ValueError(f"{who} asks for '{absent[0]}', but {where} has only {', '.join(dataset.fields)}")
    if "disparity" in fields and stream.disparities is None:
        raise ValueError(f"{who} asks for 'disparity', but has no folder of stored disparity")
    indices = np.asarray(stream.indices, np.int64)
    outside = indices[(indices < 0) | (indices >= len(index))]
    if len(outside):
        raise ValueError(f"{who} asks for frame {outside[0]}, but {where} has {len(index)}")
    labeled = np.asarray([] if stream.labeled is None else stream.labeled, np.int64)
    for field, frames, present in (
        ("labels", labeled, index.is_labeled),
        ("'prev_image'", indices if "prev_image" in fields else indices[:0], index.has_previous),
        ("'next_image'", indices if "next_image" in fields else indices[:0], index.has_next),
    ):
        ids = [index.ids[i] for i in frames[~present[frames]]]
        if ids:
            raise ValueError(f"{who} asks for {field} of {len(ids)} frames of {where} that have none, e.g. '{ids[0]}'")


MAPS = (*NEIGHBOURS, "label", "disparity", "depth")
"""Fields with height and width first, which are cropped and flipped."""


def _batches(stream: Stream, steps: tf.data.Dataset, choose: Callable[[int], Choice], crop, threads) -> tf.data.Dataset:
    """Maps a dataset of steps to a dataset of the batches that are chosen for them."""
    dataset, fields = stream.dataset, stream.fields
    neighbours = [name for name in fields if NEIGHBOURS.get(name)]
    offsets = np.array([0, *(NEIGHBOURS[name] for name in neighbours)])

    def choose_and_read(step: np.ndarray):
        choice = choose(int(step))
        records = dataset.records(choice.indices[:, None] + offsets)
        return records, choice.corner, choice.flipped, choice.labeled

    def read(step: tf.Tensor):
        found = tf.numpy_function(choose_and_read, [step], (tf.string, tf.int32, tf.bool, tf.bool))
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

    # One call at a time, one ahead of decoding: reading is a small part of the work.
    records = steps.map(read, num_parallel_calls=1, deterministic=True).unbatch()
    samples = records.map(decode, num_parallel_calls=threads, deterministic=True)
    return samples.batch(stream.batch_size, drop_remainder=True)


def _decode_target(stream: Stream, record: tf.Tensor, window, is_labeled: tf.Tensor) -> dict[str, tf.Tensor]:
    """Decodes the fields of a sample that are in its own record, and reads its disparity."""
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
    options.deterministic = True
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1  # otherwise ops use further threads
    return _explain_read_errors(batches.with_options(options).as_numpy_iterator(), streams)


OWN_ERRORS = ("AssertionError", "AttributeError", "IndexError", "KeyError", "NameError", "TypeError")
"""Python errors that are faults of this program, not of the data."""


def _explain_read_errors(batches: Iterator, streams: Sequence[Stream]) -> Iterator:
    """Passes batches on; says where data is that cannot be read any more, and what to do."""
    try:
        yield from batches
    except tf.errors.OpError as error:
        # TensorFlow puts the name of its own node first.
        reason = re.sub(r"\{\{.*?\}\}", "", str(error)).strip().splitlines() or [type(error).__name__]
        if isinstance(error, tf.errors.ResourceExhaustedError) or reason[0].startswith(OWN_ERRORS):
            raise
        advice = {stream.dataset.repair_advice() for stream in streams}
        damaged = [path for stream in streams if stream.disparities for path in stream.disparities.damaged()]
        if any(stream.disparities and str(stream.disparities.folder) in reason[0] for stream in streams):
            advice = {"--job=estimate_depth (or estimate_source_depth) writes stored disparity again"}
        if damaged:
            advice = {f"remove {damaged[0]} ({len(damaged)} such files), and --job=estimate_depth writes them again"}
        raise ReadError(
            f"a sample cannot be read any more: {reason[0]}\nCheck that the disk can be reached. If files were deleted "
            f"or damaged: {'; or '.join(sorted(advice))}. After that, the same command resumes."
        ) from error
