"""CamVid in the split and layout of SegNet's tutorial."""

import pathlib
import re

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.scanned_clips import (
    Clip,
    Frame,
    LabelFormat,
    Scan,
    list_files,
    require_folders,
    runs_of_consecutive,
    unmatched,
)
from sdeseg_jax.data.classes import CAMVID

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Folder -> split."""

VIDEO_STEP = 2
"""File names count 30 frames per second; frames at most 1/15 s apart are video."""

CAMERA = Camera.from_field_of_view(60.0, 4 / 3)
"""CamVid publishes no intrinsics for these files; the scale of depth and motion does not depend on them."""

_NAME = re.compile(r"(?P<sequence>.+)_f?(?P<number>\d+)")


class Camvid(FramesBuilder, skip_registration=True):
    """CamVid: 11 classes. Frames of `train` are a second apart and have no neighbours; `validation` is 15 Hz video."""

    LAYOUT = """
        {train,val,test}/<sequence>_<frame>.png            (test is optional)
        {trainannot,valannot,testannot}/<sequence>_<frame>.png
    """
    SIZE = (672, 512)
    CLASSES = CAMVID
    LABELS = LabelFormat.from_ids({i: i for i in range(11)}, void=(11, 255))

    def scan(self, source: pathlib.Path) -> Scan:
        present = [name for name in SPLITS if (source / name).is_dir()]
        require_folders(source, ("train", *(f"{name}annot" for name in {"train", *present})), self.LAYOUT)
        notes = [f"{source / name} is missing: no split '{SPLITS[name]}'" for name in SPLITS if name not in present]
        splits = {SPLITS[name]: self._split(source, name, notes) for name in present}
        return Scan(splits, tuple(notes))

    def _split(self, source: pathlib.Path, folder: str, notes: list[str]) -> list[Clip]:
        labels = {path.stem: str(path) for path in list_files(source / f"{folder}annot", (".png",))}
        sequences: dict[str, dict[int, pathlib.Path]] = {}
        misnamed = []
        for path in list_files(source / folder, (".png",)):
            if match := _NAME.fullmatch(path.stem):
                sequences.setdefault(match["sequence"], {})[int(match["number"])] = path
            else:
                misnamed.append(path.name)
        if misnamed:
            notes.append(
                f"{folder}: {len(misnamed)} files not named <name>_<number>.png are left out, e.g. {misnamed[0]}"
            )
        clips = []
        for files in sequences.values():
            for run in runs_of_consecutive(files, VIDEO_STEP):
                frames = tuple(
                    Frame(files[n].stem, str(files[n]), CAMERA, labels.get(files[n].stem), number=place)
                    for place, n in enumerate(run)
                )
                clips.append(Clip(frames[0].id, frames))
        images = [path.stem for files in sequences.values() for path in files.values()]
        notes += unmatched(images, labels, folder)
        return clips
