"""A prepared dataset as frames of video clips, readable by index."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.names import nearest

NEIGHBOURS = {"prev_image": -1, "image": 0, "next_image": 1}
"""Batch fields that hold images, and the frame's offset from the target."""

_SPLIT = re.compile(r"(?P<name>\w+)(\[(?P<start>\d+%?)?:(?P<stop>\d+%?)?\])?")


@dataclasses.dataclass(frozen=True)
class FrameIndex:
    """Which frames a split has, without reading any record.

    Attributes:
      ids: of every record, in record order, unique within the dataset.
      has_previous, has_next: bool per record: record i - 1 / i + 1 is the neighbouring frame of the same clip.
      is_labeled: bool per record: the dataset has a label of it.
      is_context: bool per record: there as a neighbour only, never a training or evaluation image itself.
    """

    ids: tuple[str, ...]
    has_previous: np.ndarray
    has_next: np.ndarray
    is_labeled: np.ndarray
    is_context: np.ndarray

    @classmethod
    def from_clips(
        cls,
        clips: Sequence[tuple[str, Sequence[str]]],
        labeled: Sequence[int] | None = None,
        context: Sequence[int] = (),
    ) -> "FrameIndex":
        """From [(clip name, [frame ids in order])] and record indices; all frames are labelled if not said."""
        ids, first, last = [], [], []
        for _, frames in clips:
            ids += frames
            first += [i == 0 for i in range(len(frames))]
            last += [i == len(frames) - 1 for i in range(len(frames))]
        is_labeled, is_context = np.full(len(ids), labeled is None), np.zeros(len(ids), bool)
        is_labeled[list(labeled or ())] = True
        is_context[list(context)] = True
        return cls(tuple(ids), ~np.array(first, bool), ~np.array(last, bool), is_labeled, is_context)

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> "FrameIndex":
        """Records `start` to `stop` (exclusive) alone: the frames at the cut lose a neighbour."""
        has_previous, has_next = self.has_previous[start:stop].copy(), self.has_next[start:stop].copy()
        has_previous[:1], has_next[-1:] = False, False
        return FrameIndex(
            self.ids[start:stop], has_previous, has_next, self.is_labeled[start:stop], self.is_context[start:stop]
        )

    @property
    def targets(self) -> np.ndarray:
        """Indices of frames that may be training or evaluation images: all that are not there as neighbours only."""
        return np.flatnonzero(~self.is_context)

    @property
    def with_neighbours(self) -> np.ndarray:
        """Indices of target frames that have both neighbours."""
        return np.flatnonzero(self.has_previous & self.has_next & ~self.is_context)

    @property
    def labeled(self) -> np.ndarray:
        """Indices of annotated frames."""
        return np.flatnonzero(self.is_labeled & ~self.is_context)

    @functools.cached_property
    def position(self) -> dict[str, int]:
        """id -> record index."""
        return {name: i for i, name in enumerate(self.ids)}


class FrameDataset:
    """One split of a prepared TFDS dataset whose records are frames in clip order.

    Attributes:
      name: of the dataset.
      split: as asked for, e.g. "train" or "validation[:80%]".
      index: see `FrameIndex`.
      image_size: (height, width).
      classes: the protocol of its labels; None without labels.
      fields: names of what `read` can return. `depth` [H, W, 1] in metres (inf where unknown) is made of stereo
        disparity where the dataset stores that.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str, classes: ClassMap | None = None):
        """Opens a split.

        Args:
          builder: prepared.
          split: a name, or a part of it in frames or percent: "train[:200]", "validation[80%:]".
          classes: protocol that labels are read in; the dataset's own if None.

        Raises:
          ValueError: no such split, an empty part, another number of records than the metadata says, or a protocol
            with classes that the dataset does not label.
        """
        whole, start, stop = parse_split(split, {name: s.num_examples for name, s in builder.info.splits.items()})
        if stop <= start:
            raise ValueError(f"dataset '{builder.name}': split '{split}' has no frames ({whole}: {start} to {stop})")
        metadata = builder.info.metadata
        self.name, self.split, self._start = builder.name, split, start
        self._features = builder.info.features
        self._records = builder.as_data_source(whole).data_source
        index = FrameIndex.from_clips(
            metadata["clips"][whole],
            metadata["labeled"][whole] if "labeled" in metadata else None,
            metadata["context"][whole] if "context" in metadata else (),
        )
        if len(index) != len(self._records):
            raise ValueError(
                f"{builder.data_path}: {len(self._records)} records, but its metadata lists {len(index)}; "
                "prepare the dataset anew"
            )
        self.index = index.part(start, stop)
        self.image_size = tuple(self._features["image"].shape[:2])
        stored = stored_classes(builder)
        self.classes = (classes or stored) if stored else None
        self._train_ids = classes.train_ids(stored) if stored and classes and classes != stored else None
        self.fields = (*self._features, *(("depth",) if "stereo_disparity" in self._features else ()))

    def read(
        self, index: tf.Tensor, fields: Sequence[str], window: tuple[tf.Tensor, ...] | None = None
    ) -> dict[str, tf.Tensor]:
        """Reads and decodes one frame inside a tf.data graph.

        Args:
          index: scalar record index.
          fields: of `self.fields`; the others cost nothing.
          window: (top, left, height, width) of the pixels that are wanted, for every field that has pixels; None for
            all. JPEG images are decoded there alone.

        Returns:
          {field: tensor} as stored: `image` [H, W, 3] uint8, `label` [H, W, 1] uint8, `depth` [H, W, 1] float32.
        """
        record = tf.numpy_function(self._read_record, [index], tf.string)
        record.set_shape(())
        return self._decode(record, fields, window)

    def _decode(self, record: tf.Tensor, fields, window) -> dict[str, tf.Tensor]:
        stored = {one for field in fields for one in (("stereo_disparity", "stereo_scale") if
                  field == "depth" and "depth" not in self._features else (field,))}  # fmt: skip
        subset = tfds.features.FeaturesDict({name: self._features[name] for name in sorted(stored)})
        pictures = {name for name in stored if isinstance(self._features[name], tfds.features.Image)}
        skipped = dict.fromkeys(pictures, tfds.decode.SkipDecoding())
        example = subset.deserialize_example(record, decoders=skipped)
        for name in stored:
            if name in pictures:
                example[name] = decode_picture(example[name], self._features[name], window)
            elif window is not None and self._features[name].shape[:2] == self.image_size:
                example[name] = _cut(example[name], window)
        if "label" in stored and self._train_ids is not None:
            example["label"] = tf.gather(tf.constant(self._train_ids), tf.cast(example["label"], tf.int32))
        if "depth" in fields and "depth" not in stored:
            disparity = (tf.cast(example["stereo_disparity"], tf.float32) - 1.0) / 256.0
            known = disparity > 0
            example["depth"] = tf.where(known, example["stereo_scale"] / tf.where(known, disparity, 1.0), np.inf)
        return {name: example[name] for name in fields}

    def _read_record(self, index: np.ndarray) -> np.ndarray:
        return np.array(self._records.__getitems__([int(index) + self._start])[0], dtype=object)

    def positions(self, ids: Sequence[str]) -> np.ndarray:
        """Record indices of frame ids.

        Raises:
          ValueError: an id is not in this split, or stands twice.
        """
        unknown = [name for name in ids if name not in self.index.position]
        if unknown:
            raise ValueError(f"{len(unknown)} ids are not in {self.name}/{self.split}, e.g. {unknown[:3]}")
        if len(set(ids)) != len(ids):
            raise ValueError(f"ids stand twice in the list for {self.name}/{self.split}")
        return np.array([self.index.position[name] for name in ids], np.int64)


def stored_classes(builder: tfds.core.DatasetBuilder) -> ClassMap | None:
    """The classes of a prepared dataset's labels; None if it has none."""
    classes = builder.info.metadata.get("classes")
    return ClassMap.from_json(classes) if classes else None


def decode_picture(content: tf.Tensor, feature: tfds.features.Image, window=None) -> tf.Tensor:
    """Decodes the bytes of an image feature, or a (top, left, height, width) window of it: [H, W, C]."""
    height, width, channels = feature.shape
    if window is not None:
        height, width = (tf.get_static_value(side) for side in window[2:])
    if feature.to_json_content().encoding_format == "jpeg":
        if window is None:
            picture = tf.image.decode_jpeg(content, channels)
        else:
            picture = tf.image.decode_and_crop_jpeg(content, tf.stack(window), channels)
    else:
        picture = tf.image.decode_png(content, channels, tf.as_dtype(feature.np_dtype))
        if window is not None:
            picture = _cut(picture, window)
    return tf.ensure_shape(picture, (height, width, channels))


def _cut(value: tf.Tensor, window) -> tf.Tensor:
    top, left, height, width = window
    return value[top : top + height, left : left + width]


def parse_split(split: str, sizes: Mapping[str, int]) -> tuple[str, int, int]:
    """'train[10%:200]' -> ('train', first record, last record + 1).

    Args:
      sizes: records per split.

    Raises:
      ValueError: no such split, or another form.
    """
    match = _SPLIT.fullmatch(split)
    if not match:
        raise ValueError(f"split '{split}' should be a name, or a part as in 'train[:80%]' or 'train[100:200]'")
    name = match["name"]
    if name not in sizes or not sizes[name]:
        raise ValueError(f"there is no split '{name}'{nearest(name, [s for s, size in sizes.items() if size])}")

    def place(text: str | None, default: int) -> int:
        if not text:
            return default
        number = round(int(text[:-1]) * sizes[name] / 100) if text.endswith("%") else int(text)
        return min(number, sizes[name])

    return name, place(match["start"], 0), place(match["stop"], sizes[name])
