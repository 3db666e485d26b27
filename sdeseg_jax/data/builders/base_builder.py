"""Base of the builders of downloaded datasets: features, preparation, and the report on what was found."""

import abc
import dataclasses
import functools
import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds

from sdeseg_jax.data.builders.frame_encoding import Task
from sdeseg_jax.data.builders.label_statistics import LabelStatistics
from sdeseg_jax.data.builders.neighbour_changes import changes_in_clips
from sdeseg_jax.data.builders.neighbour_counts import neighbour_counts
from sdeseg_jax.data.builders.scanned_clips import LabelFormat, Scan, is_broken_link
from sdeseg_jax.data.builders.shard_writer import Shard, write_shards
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.data.frame_dataset import FrameIndex

FILE_FORMAT = "array_record"


@dataclasses.dataclass(eq=False)
class FramesConfig(tfds.core.BuilderConfig):
    """How a dataset is prepared. Its name, which is also the folder's, is the stored size.

    Attributes:
      width, height: of the stored images; 0 for the builder's `SIZE`.
      source: the downloaded folder; only needed for preparing.
      on_corrupt: "error" or "skip" files that cannot be decoded, and labels whose size differs from their image's.
      processes: worker processes that decode and encode; 0: one per CPU.
    """

    name: str = ""
    width: int = 0
    height: int = 0
    source: str = ""
    on_corrupt: str = "error"
    processes: int = 0

    def __post_init__(self):
        if self.on_corrupt not in ("error", "skip"):
            raise ValueError(f"on_corrupt should be 'error' or 'skip', not {self.on_corrupt!r}")
        if min(self.width, self.height, self.processes) < 0:
            raise ValueError("width, height and processes should not be negative")
        self.name = self.name or f"{self.width}x{self.height}"


class FramesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders: subclasses state their dataset's facts as class attributes and find its files in `scan`.

    One record is one frame, stored once; records are in the order of clips and frames, so that the neighbours of a
    frame are the records before and after it. The metadata has `clips` (split -> [[clip, [ids]]]; a clip with a
    skipped frame is listed twice), `labeled` and `context` (split -> record indices), `classes`, `changes` (split ->
    what `neighbour_changes.changes_in_clips` returns) and `found`.
    """

    VERSION = tfds.core.Version("1.0.0")

    SIZE: tuple[int, int] = (1024, 512)
    """(width, height) of stored images unless the config says otherwise; the paper's."""

    LAYOUT: str = ""
    """Structure of the downloaded folder, for messages and `--help`."""

    CLASSES: ClassMap | None = None
    """Classes of the labels; None for datasets without labels."""

    LABELS: LabelFormat | None = None
    LABEL_SIZES_VARY = False
    """Whether the dataset is known to have labels whose size differs from their image's; these are skipped."""

    HAS_STEREO = False
    HAS_POSES = False

    def __init__(self, *, config: FramesConfig, data_dir: str | os.PathLike, **kwargs):
        if not config.width or not config.height:
            width, height = self.SIZE
            config = dataclasses.replace(config, name="", width=config.width or width, height=config.height or height)
        super().__init__(config=config, data_dir=os.fspath(data_dir), file_format=FILE_FORMAT, **kwargs)

    @abc.abstractmethod
    def scan(self, source: pathlib.Path) -> Scan:
        """Finds the clips in the downloaded folder, without decoding anything.

        Raises:
          SourceError: folders are missing (it shows `LAYOUT` and what was found), or files contradict each other.
        """

    def classes(self) -> ClassMap | None:
        """Returns the classes of the labels; None without labels."""
        return self.CLASSES

    def label_format(self) -> LabelFormat | None:
        """Returns how label files encode classes; None without labels."""
        return self.LABELS

    def _info(self) -> tfds.core.DatasetInfo:
        shape = self.builder_config.height, self.builder_config.width
        png = functools.partial(tfds.features.Image, shape=(*shape, 1), encoding_format="png")
        tensor = tfds.features.Tensor
        features = {
            "image": tfds.features.Image(shape=(*shape, 3), encoding_format="jpeg"),
            "intrinsics": tensor(
                shape=(3, 3), dtype=np.float32, doc="pixels, pixel centres at integers; NaN if unknown"
            ),
            "id": tfds.features.Text(),
            "clip": tfds.features.Text(),
            "frame": np.int32,
        }
        if self.label_format() is not None:
            features["label"] = png(doc="train id, 255 void")
        if self.HAS_STEREO:
            features["stereo_disparity"] = png(
                dtype=np.uint16, doc="(value - 1) / 256 pixels of the original image; 0 where unknown"
            )
            features["stereo_scale"] = tensor(shape=(), dtype=np.float32, doc="depth in metres * disparity in pixels")
        if self.HAS_POSES:
            # As bytes: TFDS would store floats of any width in 32 bits.
            features["pose"] = tensor(
                shape=(4, 4), dtype=np.float64, encoding="bytes", doc="camera to world, metres; x right, y down"
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        raise NotImplementedError("frames are written by _download_and_prepare")

    def _generate_examples(self):
        raise NotImplementedError("frames are written by _download_and_prepare")

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        config, data_path = self.builder_config, pathlib.Path(self.data_path)
        if not config.source:
            raise SourceError(f"{self.name}: name the downloaded folder: FramesConfig(source=...)")
        scan = self.scan(pathlib.Path(config.source).expanduser())
        check_scan(scan, config.source, self.LAYOUT)
        if config.on_corrupt == "error":
            check_links(scan)
        self._partial = data_path.parent / f"{self.version}.partial"
        tasks = {
            split: [(clip.name, self._task(frame)) for clip in clips for frame in clip.frames]
            for split, clips in scan.splits.items()
        }
        options = config.on_corrupt, config.processes
        shards = write_shards(self._partial, tasks, self._serialize, *options, label_sizes_vary=self.LABEL_SIZES_VARY)
        empty = [split for split, parts in shards.items() if not any(part.frames for part in parts)]
        if empty:
            raise SourceError(f"{config.source}: no frame of split '{empty[0]}' could be stored")
        self.info.set_splits(tfds.core.SplitDict([self._link_shards(data_path, *item) for item in shards.items()]))
        classes, changes = self.classes(), _changes(shards, config.processes)
        found = _found(scan, shards, changes, classes.names if classes else ())
        self.info.metadata.update(
            clips={split: _clips(parts) for split, parts in shards.items()},
            labeled={split: _positions(parts, 3) for split, parts in shards.items()},
            context={split: _positions(parts, 4) for split, parts in shards.items()},
            classes=classes.to_json() if classes else None,
            changes=changes,
            found=found,
            **self.more_metadata(),
        )

    def _post_download_and_prepare_hook(self) -> None:
        shutil.rmtree(self._partial)
        for killed in self._partial.parent.glob(f"incomplete.*_{self.version}"):  # TFDS's, from calls that were killed
            shutil.rmtree(killed)

    def more_metadata(self) -> dict:
        """Returns the dataset's own metadata; called after `scan`."""
        return {}

    def _task(self, frame) -> Task:
        config = self.builder_config
        return Task(frame, (config.width, config.height), self.label_format(), self.HAS_STEREO)

    def _serialize(self, clip: str, task: Task, encoded: dict) -> bytes:
        frame = task.frame
        example = {**encoded, "id": frame.id, "clip": clip, "frame": frame.number}
        if self.HAS_STEREO:
            example["stereo_scale"] = np.float32(frame.stereo_scale)
        if self.HAS_POSES:
            example["pose"] = np.array(frame.pose or [np.nan] * 16, np.float64).reshape(4, 4)
        return self.info.features.serialize_example(example)

    def _link_shards(self, data_path: pathlib.Path, split: str, shards: list[Shard]) -> tfds.core.SplitInfo:
        """Hard-links shards, so that an interruption loses nothing; copies them where the disk has no hard links."""
        template = tfds.core.ShardedFileTemplate(
            data_dir=data_path, dataset_name=self.name, split=split, filetype_suffix=FILE_FORMAT
        )
        shards = [shard for shard in shards if shard.frames]
        for number, shard in enumerate(shards):
            target = template.sharded_filepath(shard_index=number, num_shards=len(shards))
            try:
                os.link(shard.path, target)
            except OSError:
                shutil.copyfile(shard.path, target)
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(shard.frames) for shard in shards],
            num_bytes=sum(shard.path.stat().st_size for shard in shards),
            filename_template=template,
        )


def check_scan(scan: Scan, source: str, layout: str) -> None:
    """Raises SourceError if a split has no frames or two frames have the same id."""
    if not scan.splits:
        raise SourceError(f"{source} holds no frames. Expected:\n{layout}")
    for split, clips in scan.splits.items():
        if not any(clip.frames for clip in clips):
            raise SourceError(f"{source} holds no frames for split '{split}'. Expected:\n{layout}")
    counts = Counter(frame.id for clips in scan.splits.values() for clip in clips for frame in clip.frames)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise SourceError(
            f"{source}: {len(twice)} frame ids belong to two files each, e.g. '{twice[0]}'; rename one of the files"
        )


def check_links(scan: Scan) -> None:
    """Raises SourceError if images or labels are symbolic links that lead nowhere."""
    frames = [frame for clips in scan.splits.values() for clip in clips for frame in clip.frames]
    files = [path for frame in frames for path in (frame.image, frame.label, frame.stereo_disparity) if path]
    broken = [path for path in map(pathlib.Path, dict.fromkeys(files)) if is_broken_link(path)]
    if broken:
        raise SourceError(
            f"{len(broken)} files are broken symbolic links, e.g. {broken[0]}, to {broken[0].readlink()}. Repair them, "
            "or leave out such frames and labels with --on_corrupt=skip"
        )


def _clips(shards: list[Shard]) -> list[list]:
    """Returns [[clip, [ids]]] of stored frames; a clip ends at a skipped frame, and another of its name begins."""
    clips: list[list] = []
    previous = None
    for name, frame_id, number, _, _ in (frame for shard in shards for frame in shard.frames):
        if previous != (name, number - 1):
            clips.append([name, []])
        clips[-1][1].append(frame_id)
        previous = (name, number)
    return clips


def _positions(shards: list[Shard], column: int) -> list[int]:
    frames = [frame for shard in shards for frame in shard.frames]
    return [position for position, frame in enumerate(frames) if frame[column]]


def _changes(shards: dict[str, list[Shard]], processes: int) -> dict[str, dict]:
    """Returns split -> how records differ from those before them, see `neighbour_changes.changes_in_clips`."""
    return {
        split: changes_in_clips(
            np.concatenate([part.grey() for part in parts]), [len(ids) for _, ids in _clips(parts)], processes
        )
        for split, parts in shards.items()
    }


def _found(scan: Scan, shards: dict[str, list[Shard]], changes: dict[str, dict], classes: Sequence[str]) -> dict:
    """Returns the report: what is stored and what is skipped, and what labels and videos hold.

    Args:
      changes: see `_changes`.
      classes: their names.
    """
    splits = {}
    for split, parts in shards.items():
        clips, context = _clips(parts), _positions(parts, 4)
        index = FrameIndex.from_clips(clips, context=context, changes=changes[split])
        frames = [(frame[1], counts) for part in parts for frame, counts in zip(part.frames, part.pixels, strict=True)]
        labels = ((name, counts) for name, counts in frames if counts is not None)
        splits[split] = {
            "images": len(index),
            "labels": len(_positions(parts, 3)),
            "clips": len({name for name, _ in clips}),
            "without_neighbours": len(index.targets) - len(index.with_neighbours),
            "only_neighbours": len(context),
            "skipped": [one for part in parts for one in part.skipped],
            "pixels": LabelStatistics.count(labels, len(classes)).to_json(),
            "neighbours": neighbour_counts(index, clips),
        }
    return {"splits": splits, "classes": list(classes), "notes": list(scan.notes), "warnings": list(scan.warnings)}
