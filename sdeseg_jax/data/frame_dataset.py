"""A prepared dataset as frames of video clips, readable by index."""

import dataclasses
import functools
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from sdeseg_jax.config import UserError
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data.classes import VOID, ClassMap

NEIGHBOURS = {"prev_image": -1, "image": 0, "next_image": 1}
"""Batch fields that hold images -> the frame's offset from the target."""

_SPLIT = re.compile(r"(?P<name>\w+)(\[(?P<start>\d+%?)?:(?P<stop>\d+%?)?\])?")


@dataclasses.dataclass(frozen=True)
class FrameIndex:
    """The frames of a split, known without reading any record.

    Attributes:
      ids: of every record, in record order, unique within the dataset.
      has_previous, has_next: bool per record: record i - 1 / i + 1 is the neighbouring frame of the same clip.
      is_labeled: bool per record: the dataset has a label for it.
      is_context: bool per record: only a neighbour, never a training or evaluation image itself.
      difference, match: per record, how it differs from the one before it, see `builders.neighbour_changes`; NaN where
        that is unknown, as it is everywhere in datasets that were prepared before it was measured.
    """

    ids: tuple[str, ...]
    has_previous: np.ndarray
    has_next: np.ndarray
    is_labeled: np.ndarray
    is_context: np.ndarray
    difference: np.ndarray
    match: np.ndarray

    @classmethod
    def from_clips(
        cls,
        clips: Sequence[tuple[str, list[str]]],
        labeled: Sequence[int] | None = None,
        context: Sequence[int] = (),
        changes: Mapping[str, Sequence[float | None]] | None = None,
    ) -> "FrameIndex":
        """Makes an index.

        Args:
          clips: [(clip name, [frame ids in order])].
          labeled, context: record indices; `labeled` None means all.
          changes: `difference` and `match` of every record, None where unknown; None if nothing was measured.
        """
        ids = tuple(name for _, frames in clips for name in frames)
        places = [(i > 0, i < len(frames) - 1) for _, frames in clips for i in range(len(frames))]
        has_previous, has_next = np.array(places, bool).reshape(-1, 2).T
        is_labeled, is_context = np.full(len(ids), labeled is None), np.zeros(len(ids), bool)
        is_labeled[list(labeled or ())] = True
        is_context[list(context)] = True
        measured = [
            np.array(changes[name] if changes else [None] * len(ids), np.float32) for name in ("difference", "match")
        ]
        return cls(ids, has_previous, has_next, is_labeled, is_context, *measured)

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> "FrameIndex":
        """Returns records `start` to `stop` (exclusive) alone; the frames at the cut lose a neighbour."""
        ids, *flags = (getattr(self, field.name)[start:stop] for field in dataclasses.fields(self))
        part = FrameIndex(ids, *(flag.copy() for flag in flags))
        part.has_previous[:1], part.has_next[-1:] = False, False
        return part

    @property
    def targets(self) -> np.ndarray:
        """Indices of frames that can be training or evaluation images: all that are not only neighbours."""
        return np.flatnonzero(~self.is_context)

    @property
    def with_neighbours(self) -> np.ndarray:
        """Indices of target frames that have both neighbours."""
        return np.flatnonzero(self.has_previous & self.has_next & ~self.is_context)

    def near_same_view(self, min_difference: float) -> np.ndarray:
        """Returns the indices of frames in `with_neighbours` that are nearly the same as one of the two."""
        return self._near(self.difference < min_difference)  # NaN is not

    def near_cut(self, min_match: float) -> np.ndarray:
        """Returns the indices of frames in `with_neighbours` that show another place than one of the two."""
        return self._near(self.match < min_match)

    def _near(self, is_such: np.ndarray) -> np.ndarray:
        """Returns the frames of `with_neighbours` in a pair; `is_such`: per record, of it and the one before it."""
        return self.with_neighbours[(is_such | np.append(is_such[1:], False))[self.with_neighbours]]

    @property
    def labeled(self) -> np.ndarray:
        """Indices of annotated frames."""
        return np.flatnonzero(self.is_labeled & ~self.is_context)

    @functools.cached_property
    def position(self) -> dict[str, int]:
        """id -> record index; also id with its accents in the form (NFC) in which ids are compared."""
        return {unicodedata.normalize("NFC", name): i for i, name in enumerate(self.ids)} | {
            name: i for i, name in enumerate(self.ids)
        }


class ReadError(UserError):
    """Data that was readable when a run began cannot be read any more; the message names the folder."""


class FrameDataset:
    """One split of a prepared TFDS dataset whose records are frames in clip order.

    Attributes:
      name: of the dataset.
      folder: where it is stored.
      split: as requested, e.g. "train" or "validation[:80%]".
      index: see `FrameIndex`.
      image_size: (height, width).
      classes: protocol of its labels; None without labels.
      files: frame id -> file names (image, label) in the folder that the dataset was prepared from; only a user's own
        dataset has them.
      fields: names that `read` accepts. `depth` [H, W, 1] in metres (inf where unknown) is computed from stereo
        disparity if the dataset stores that.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str, classes: ClassMap | None = None):
        """Opens a split.

        Args:
          builder: prepared.
          split: a name, or a part of it in frames or percent: "train[:200]", "validation[80%:]".
          classes: protocol that labels are converted to; the dataset's own if None.

        Raises:
          ValueError: the split does not exist or the part is empty; files of records are missing or damaged; the
            metadata lists another number of records; or the dataset lacks a class of the protocol.
        """
        whole, start, stop = parse_split(split, {name: s.num_examples for name, s in builder.info.splits.items()})
        if stop <= start:
            raise ValueError(f"split '{split}' has no frames ({whole}: {start} to {stop})")
        metadata = builder.info.metadata
        self.name, self.split, self._start = builder.name, split, start
        self.folder, self._features = pathlib.Path(builder.data_path), builder.info.features
        self._records = builder.as_data_source(whole).data_source
        self._check_records(whole, builder)
        index = FrameIndex.from_clips(
            metadata["clips"][whole],
            metadata["labeled"][whole] if "labeled" in metadata else None,
            metadata["context"][whole] if "context" in metadata else (),
            metadata["changes"][whole] if "changes" in metadata else None,
        )
        if len(index) != len(self._records):
            found = f"{len(self._records)} records, but the metadata lists {len(index)}"
            raise ValueError(f"{found}; {self.repair_advice()}")
        self.index = index.part(start, stop)
        self.image_size = tuple(self._features["image"].shape[:2])
        stored = stored_classes(builder)
        self.classes = (classes or stored) if stored else None
        self.files = metadata.get("files") or {}
        self._train_ids = classes.train_ids(stored) if stored and classes and classes != stored else None
        self.fields = (*self._features, *(("depth",) if "stereo_disparity" in self._features else ()))

    def _check_records(self, split: str, builder) -> None:
        """Raises ValueError if files of records are missing or empty, or the last record cannot be read."""
        for path in map(pathlib.Path, builder.info.splits[split].filepaths):
            if not path.exists() or not path.stat().st_size:
                raise ValueError(f"{path} is missing or empty; {self.repair_advice()}")
        try:
            whole = bool(self._records[len(self._records) - 1])
        except Exception:  # ArrayRecord raises many kinds
            whole = False
        if not whole:
            raise ValueError(f"{path} is damaged; {self.repair_advice()}")

    def repair_advice(self) -> str:
        """Says what to do if files of the dataset are damaged."""
        how = "--job=dataset renders it" if self.name == "streets" else "`sdeseg prepare` prepares it"
        return f"remove {self.folder}, and {how} again"

    def records(self, indices: np.ndarray) -> np.ndarray:
        """Reads encoded records: bytes in an object array of the shape of `indices`."""
        # One at a time: the data source starts a thread pool for every call that reads several, which costs more.
        found = [self._records[self._start + int(index)] for index in np.ravel(indices)]
        return np.array(found, object).reshape(np.shape(indices))

    def read(self, index: tf.Tensor, fields: Sequence[str], window: tuple | None = None) -> dict[str, tf.Tensor]:
        """Reads and decodes one frame, in a tf.data graph or eagerly.

        Args:
          index: scalar record index.
          fields, window: see `decode`, which returns the result.
        """
        record = tf.numpy_function(self.records, [index], tf.string)
        return self.decode(tf.ensure_shape(record, ()), fields, window)

    def decode(self, record: tf.Tensor, fields: Sequence[str], window: tuple | None = None) -> dict[str, tf.Tensor]:
        """Decodes one record.

        Args:
          record: scalar, from `records`.
          fields: some of `self.fields`; the others cost nothing.
          window: (top, left, height, width) in pixels that is cut from every field with pixels; None for all. Of a
            JPEG image, only this part is decoded.

        Returns:
          {field: tensor}: `image` [H, W, 3] uint8, `label` [H, W, 1] uint8, `depth` [H, W, 1] float32, others as
          stored.
        """
        stored = {name for name in fields if name in self._features}
        needs_stereo = "depth" in fields and "depth" not in stored
        if needs_stereo:
            stored |= {"stereo_disparity", "stereo_scale"}
        subset = tfds.features.FeaturesDict({name: self._features[name] for name in sorted(stored)})
        pictures = [name for name in subset if isinstance(subset[name], tfds.features.Image)]
        example = subset.deserialize_example(record, decoders=dict.fromkeys(pictures, tfds.decode.SkipDecoding()))
        for name in subset:
            if name in pictures:
                example[name] = decode_picture(example[name], subset[name], window)
            elif subset[name].shape[:2] == self.image_size:
                example[name] = cut(example[name], window)
        if "label" in example and self._train_ids is not None:
            example["label"] = tf.gather(tf.constant(self._train_ids), tf.cast(example["label"], tf.int32))
        if needs_stereo:
            example["depth"] = stereo_depth(example["stereo_disparity"], example["stereo_scale"])
        return {name: example[name] for name in fields}

    def has_annotated_pixels(self, indices: Iterable[int]) -> bool:
        """Whether the label of one of these frames has a pixel of a class; reads labels until it finds one."""
        for index in indices:
            try:
                label = self.decode(self.records(np.array(index)).item(), ("label",))["label"]
            except Exception:  # of a damaged record; training reports it
                return True
            if int(tf.reduce_min(label)) != VOID:
                return True
        return False

    def positions(self, ids: Sequence[str]) -> np.ndarray:
        """Returns the record indices of frame ids, however their accents are stored.

        Raises:
          ValueError: an id is not in this split, or is listed twice.
        """
        ids = [name if name in self.index.position else unicodedata.normalize("NFC", name) for name in ids]
        unknown = [name for name in ids if name not in self.index.position]
        if unknown:
            raise ValueError(f"{len(unknown)} ids are not in {self.name}/{self.split}, e.g. {unknown[:3]}")
        found = [self.index.position[name] for name in ids]
        if len(set(found)) != len(found):
            raise ValueError(f"ids of {self.name}/{self.split} are listed twice")
        return np.array(found, np.int64)


def stored_classes(builder: tfds.core.DatasetBuilder) -> ClassMap | None:
    """Returns the classes of a prepared dataset's labels, or None if it has no labels."""
    classes = builder.info.metadata.get("classes")
    return ClassMap.from_json(classes) if classes else None


def stereo_depth(stored: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Returns depth in metres, inf where unknown, from stored disparity: scale / ((value - 1) / 256)."""
    disparity = (tf.cast(stored, tf.float32) - 1.0) / 256.0
    known = disparity > 0
    return tf.where(known, scale / tf.where(known, disparity, 1.0), np.inf)


def decode_picture(content: tf.Tensor, feature: tfds.features.Image, window=None) -> tf.Tensor:
    """Decodes the bytes of an image feature, or a (top, left, height, width) window of it: [H, W, C].

    In JPEG images, pixels in the outermost row or column of a window may be off by a few levels: colours are stored for
    2x2 pixels and interpolated, and the neighbour outside the window is not decoded.
    """
    height, width, channels = feature.shape
    if window is not None:
        height, width = (tf.get_static_value(side) for side in window[2:])
    if feature.to_json_content().encoding_format == "jpeg":
        method = "INTEGER_ACCURATE"  # the default may differ between machines
        if window is None:
            picture = tf.image.decode_jpeg(content, channels, dct_method=method)
        else:
            picture = tf.image.decode_and_crop_jpeg(content, tf.stack(window), channels, dct_method=method)
    else:
        picture = cut(tf.image.decode_png(content, channels, tf.as_dtype(feature.np_dtype)), window)
    return tf.ensure_shape(picture, (height, width, channels))


def cut(value: tf.Tensor, window) -> tf.Tensor:
    """Returns the (top, left, height, width) window of [H, W, ...], or all of it if the window is None."""
    if window is None:
        return value
    top, left, height, width = window
    return value[top : top + height, left : left + width]


def parse_split(split: str, sizes: Mapping[str, int]) -> tuple[str, int, int]:
    """Parses 'train[10%:200]' into ('train', first record, last record + 1).

    Args:
      sizes: records per split.

    Raises:
      ValueError: the split does not exist, or the text has another form.
    """
    match = _SPLIT.fullmatch(split)
    if not match:
        raise ValueError(f"split '{split}' should be a name, or a part as in 'train[:80%]' or 'train[100:200]'")
    name = match["name"]
    if name not in sizes or not sizes[name]:
        raise ValueError(f"split '{name}' does not exist{nearest(name, [s for s, size in sizes.items() if size])}")

    def place(text: str | None, default: int) -> int:
        if not text:
            return default
        number = round(int(text[:-1]) * sizes[name] / 100) if text.endswith("%") else int(text)
        return min(number, sizes[name])

    return name, place(match["start"], 0), place(match["stop"], sizes[name])
