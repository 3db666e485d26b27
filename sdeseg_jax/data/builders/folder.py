"""A user's own videos and images, annotated or not."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from itertools import pairwise

import tensorflow_datasets as tfds

from sdeseg_jax.data.builders.base_builder import FramesBuilder, FramesConfig
from sdeseg_jax.data.builders.classes_json import CLASSES_EXAMPLE, read_classes
from sdeseg_jax.data.builders.folder_contents import Footage, find_camera, find_footage, stretch_notes
from sdeseg_jax.data.builders.folder_description_files import read_names
from sdeseg_jax.data.builders.folder_labels import label_files, label_folder, label_warnings, match_labels
from sdeseg_jax.data.builders.frame_encoding import image_size
from sdeseg_jax.data.builders.frame_order import same_form
from sdeseg_jax.data.builders.image_reading import survey_bit_depth
from sdeseg_jax.data.builders.label_reading import choose_readings
from sdeseg_jax.data.builders.scanned_clips import Clip, Frame, LabelFormat, Scan, runs_of_consecutive
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import ClassMap

MAX_SIDE = 1024
"""Longer side of stored images unless the config says otherwise. The longer one, so that upright video of a phone has
as many pixels, and costs as much memory and time, as the same in landscape format."""


@dataclasses.dataclass(eq=False)
class FolderConfig(FramesConfig):
    """How own data is prepared.

    Attributes:
      name: of the dataset, if there are several; the stored size and the stride are appended.
      width, height: of the stored images; 0: about the first image's, the longer side at most `MAX_SIDE`.
      stride: keep every n-th frame of the clips.
      dataset_name: `name` as given.
    """

    stride: int = 1
    dataset_name: str = ""

    def __post_init__(self):
        self.dataset_name = self.dataset_name or self.name
        if self.stride < 1:
            raise SourceError(f"stride should be positive, not {self.stride}")
        if not re.fullmatch(r"(\w[\w.-]*)?", self.dataset_name):
            raise SourceError(f"name may hold letters, digits, '_', '-' and '.' only, not '{self.dataset_name}'")
        super().__post_init__()
        parts = [self.dataset_name, f"{self.width}x{self.height}", f"stride{self.stride}" if self.stride > 1 else ""]
        self.name = "_".join(part for part in parts if part)


class Folder(FramesBuilder, skip_registration=True):
    """Own videos for depth, own annotated images for segmentation, or both.

    A folder of frames is one clip as far as the numbers in its names do not jump, see `clip_gaps`.

    With a stride, frames 0, stride, 2 stride, … of a clip are stored. Annotated frames between them become clips of
    their own, with the frames one stride before and after as context, so that neighbours are equally far apart.
    """

    # 1.1.0: palettes, order of frames, clips at gaps, and videos as they are shown; folders of 1.0.0 may be wrong.
    VERSION = tfds.core.Version("1.1.0")

    LAYOUT = """
        clips/<name>/*.png, *.jpg, …    frames of a video, in the order of the numbers in their names
        clips/<name>.mp4                or a video file (.mov, .avi, .mkv, .webm, .ts, .hevc, …)
        images/*.png, *.jpg, *.webp, …  (optional) single images
        labels/<image name>.png         (optional) label of an image; of frame 123 of drive.mp4: drive_000123.png
        labels/<clip>/<image name>.png  use this if several clips have an image of this name
        labels/…/<image name>.png       folders at any depth are searched; the folder may be called masks, too
        classes.json                    classes; required for labels
        camera.json                     field of view or intrinsics; required for clips
        clips/<name>.camera.json        (optional) camera of one clip; or clips/<name>/camera.json
        validation.txt                  (optional) clips and images of the split 'validation', one name per line
    """
    CONFIG = FolderConfig

    def __init__(self, *, config: FolderConfig, data_dir, **kwargs):
        """Reads the classes and the default size from the source.

        Raises:
          SourceError: no source is given, it has no images, or its labels have no classes.
        """
        if not config.source:
            raise SourceError("name the folder of your data: FolderConfig(source=...)")
        source = pathlib.Path(config.source).expanduser()
        footage, images, _ = find_footage(source, self.LAYOUT)
        if not config.width or not config.height:
            width, height = default_size(image_size([*(p for f in footage for p in f.images or [f.path]), *images]))
            config = dataclasses.replace(config, name="", width=config.width or width, height=config.height or height)
        self._classes: ClassMap | None = None
        self._labels: LabelFormat | None = None
        self._files: dict[str, tuple[str, str]] = {}
        if label_files(folder := label_folder(source)):
            path = source / "classes.json"
            if not path.exists():
                raise SourceError(f"{path} is missing: {folder} needs classes. Example:{CLASSES_EXAMPLE}")
            self._classes, self._labels = read_classes(path, config.dataset_name or "folder")
        super().__init__(config=config, data_dir=data_dir, **kwargs)

    def classes(self) -> ClassMap | None:
        return self._classes

    def label_format(self) -> LabelFormat | None:
        return self._labels

    def scan(self, source: pathlib.Path) -> Scan:
        footage, images, notes = find_footage(source, self.LAYOUT)
        names = {*(one.name for one in footage), *(same_form(path.stem) for path in images)}
        held_out = read_names(source / "validation.txt", names)
        frames = {one.name: frames for one in footage if (frames := self._frames(one, notes))}
        single = {(stem := same_form(path.stem)): Frame(stem, str(path)) for path in images}
        folder, named = label_folder(source), {**frames, "": single}
        if folder.name != "labels":
            notes.append(f"labels are read from {folder}, as there is no labels/")
        labels = match_labels(folder, named, notes)
        facts = self._file_facts(named, labels, notes)
        self._files = {
            frame.id: file_names(source, clip, stem, frame, folder.name)
            for clip, own in named.items()
            for stem, frame in own.items()
        }
        config, files = self.builder_config, [(path, 1) for path in images]
        splits: dict[str, list[Clip]] = {"train": [], "validation": []}
        for one in (one for one in footage if one.name in frames):
            camera = find_camera(source, one, len(frames[one.name]))
            all_frames = [
                dataclasses.replace(frame, camera=camera, **facts[one.name, stem])
                for stem, frame in frames[one.name].items()
            ]
            clips = [
                clip
                for start, end in pairwise([*one.starts, len(all_frames)])
                for clip in keep_every(
                    config.stride, all_frames[start].id if start else one.name, all_frames[start:end]
                )
            ]
            splits["validation" if one.name in held_out else "train"] += clips
            files.append((pathlib.Path(all_frames[0].image), sum(len(clip.frames) for clip in clips)))
        for stem, frame in single.items():
            clip = Clip(stem, (dataclasses.replace(frame, **facts["", stem]),))
            splits["validation" if stem in held_out else "train"].append(clip)
        notes += stretch_notes(files, (config.width, config.height))
        notes += [f"no split '{split}', see validation.txt" for split, clips in splits.items() if not clips]
        warnings = label_warnings(source, folder, named, len(labels))
        return Scan({split: clips for split, clips in splits.items() if clips}, tuple(notes), tuple(warnings))

    def more_metadata(self) -> dict:
        """Returns `files`: frame id -> paths (image, label) in the source folder; the label need not exist."""
        return {"files": self._files}

    def _file_facts(self, frames: Mapping[str, Mapping[str, Frame]], labels: Mapping, notes: list[str]) -> dict:
        """Returns (clip, name) -> fields of the frame: its label, how that is read, and the image's bit depth."""
        processes = self.builder_config.processes
        readings = choose_readings(labels.values(), self._labels, processes) if self._labels else {}
        depth, found = survey_bit_depth(
            {clip: [f.image for f in named.values()] for clip, named in frames.items()}, processes
        )
        notes += found
        return {
            (clip, stem): {
                "label": (label := labels.get((clip, stem))),
                "label_reading": readings.get(label, ""),
                "bit_depth": depth,
            }
            for clip, named in frames.items()
            for stem in named
        }

    def _frames(self, footage: Footage, notes: list[str]) -> dict[str, Frame]:
        try:
            return footage.frames(notes)
        except ValueError as error:
            message = f"{footage.path}: {error}"
            if self.builder_config.on_corrupt == "skip":
                notes.append(f"{message}; it is left out")
                return {}
            raise SourceError(f"{message}\nCopy it again, or leave it out with --on_corrupt=skip.") from error


def file_names(source: pathlib.Path, clip: str, stem: str, frame: Frame, folder: str = "labels") -> tuple[str, str]:
    """Returns (image, label) of a frame, relative to the source folder; the label need not exist.

    Args:
      clip: "" for a single image.
      stem: name of its label, without ".png".
      folder: of the labels.
    """
    image = pathlib.Path(frame.image).relative_to(source).as_posix()
    if frame.video_index is not None:
        return f"{image}, frame {frame.video_index}", f"{folder}/{stem}.png"
    return image, "/".join(filter(None, (folder, clip, f"{stem}.png")))


def default_size(size: tuple[int, int]) -> tuple[int, int]:
    """Returns (width, height) to store images of this size: multiples of 32, the longer side at most `MAX_SIDE`."""
    scale = min(1.0, MAX_SIDE / max(size))
    return tuple(max(32, 32 * round(side * scale / 32)) for side in size)


def keep_every(stride: int, name: str, frames: list[Frame]) -> list[Clip]:
    """Returns clips of every `stride`-th frame of a clip, and of annotated frames between those, see `Folder`.

    No frame is stored twice.
    """
    clips = []
    for first in range(min(stride, len(frames))):
        row = frames[first::stride]
        kept = range(len(row))
        if first:
            annotated = [place for place, frame in enumerate(row) if frame.label]
            kept = {near for place in annotated for near in (place - 1, place, place + 1) if 0 <= near < len(row)}
        for run in runs_of_consecutive(kept):
            part = tuple(
                dataclasses.replace(row[place], number=place, is_context=bool(first) and not row[place].label)
                for place in run
            )
            clips.append((first and first + stride * run[0], Clip(part[0].id if first else name, part)))
    # The main clip, then the others in the order of the video, because it is read forwards.
    return [clip for _, clip in sorted(clips, key=lambda item: item[0])]
