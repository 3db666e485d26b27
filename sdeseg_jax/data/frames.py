"""A prepared dataset as frames of video clips, readable by index."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from sdeseg_jax.data.classes import ClassMap

NEIGHBOURS = {"prev_image": -1, "image": 0, "next_image": 1}
"""Batch fields that hold images, and the frame's offset from the target."""


@dataclasses.dataclass(frozen=True)
class FrameIndex:
    """Which frames a split has, without reading any record.

    Attributes:
      ids: of every record, in record order, unique within the dataset.
      has_previous, has_next: bool per record: record i - 1 / i + 1 is the neighbouring frame of the same clip.
    """

    ids: tuple[str, ...]
    has_previous: np.ndarray
    has_next: np.ndarray

    @classmethod
    def from_clips(cls, clips: Sequence[tuple[str, Sequence[str]]]) -> "FrameIndex":
        """From [(clip name, [frame ids in order])]."""
        ids, first, last = [], [], []
        for _, frames in clips:
            ids += frames
            first += [i == 0 for i in range(len(frames))]
            last += [i == len(frames) - 1 for i in range(len(frames))]
        return cls(tuple(ids), ~np.array(first, bool), ~np.array(last, bool))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def with_neighbours(self) -> np.ndarray:
        """Indices of frames that have both neighbours."""
        return np.flatnonzero(self.has_previous & self.has_next)

    @functools.cached_property
    def position(self) -> dict[str, int]:
        """id -> record index."""
        return {name: i for i, name in enumerate(self.ids)}


class FrameDataset:
    """One split of a prepared TFDS dataset whose records are frames in clip order.

    Attributes:
      index: see `FrameIndex`.
      image_size: (height, width).
      classes: the protocol of its labels.
      fields: names of the stored features.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str, classes: ClassMap):
        if split not in builder.info.splits or not builder.info.splits[split].num_examples:
            raise ValueError(
                f"dataset '{builder.name}' has no frames in split '{split}'; it has {sorted(builder.info.splits)}"
            )
        self._features = builder.info.features
        self._records = builder.as_data_source(split).data_source
        self.name, self.split, self.classes = builder.name, split, classes
        self.index = FrameIndex.from_clips(builder.info.metadata["clips"][split])
        self.image_size = tuple(self._features["image"].shape[:2])
        self.fields = tuple(self._features)
        if len(self.index) != len(self._records):
            raise ValueError(
                f"{builder.data_path}: {len(self._records)} records, but its metadata lists {len(self.index)}; "
                "prepare the dataset anew"
            )

    def read(self, indices: tf.Tensor, fields: Sequence[str]) -> dict[str, tf.Tensor]:
        """Reads and decodes one frame inside a tf.data graph.

        Args:
          indices: scalar record index.
          fields: names of stored features to decode; the others cost nothing.
        """
        record = tf.numpy_function(self._read_record, [indices], tf.string)
        record.set_shape(())
        subset = tfds.features.FeaturesDict({name: self._features[name] for name in fields})
        return subset.deserialize_example(record)

    def _read_record(self, index: np.ndarray) -> np.ndarray:
        return np.array(self._records.__getitems__([int(index)])[0], dtype=object)

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
