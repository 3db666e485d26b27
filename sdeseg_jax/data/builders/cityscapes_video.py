"""Every frame of Cityscapes' 30-frame snippets, for learning depth from video."""

import pathlib

from sdeseg_jax.data.builders.base import FramesBuilder
from sdeseg_jax.data.builders.cityscapes import SPLITS, frame_files, read_camera
from sdeseg_jax.data.builders.sources import Clip, Frame, Scan, require_folders, runs_of_consecutive

ANNOTATED = 19
"""Place of the annotated frame, whose intrinsics `camera/` has, in its snippet."""


class CityscapesVideo(FramesBuilder, skip_registration=True):
    """Cityscapes' sequence package: 30 frames at 17 Hz around every annotated one, without labels."""

    LAYOUT = """
        leftImg8bit_sequence/{train,val}/<city>/<city>_<seq>_<frame>_leftImg8bit.png
        camera/{train,val}/<city>/…_camera.json      (optional: intrinsics of every annotated image)
    """

    def scan(self, source: pathlib.Path) -> Scan:
        require_folders(source, ("leftImg8bit_sequence/train",), self.LAYOUT)
        splits, notes = {}, []
        for folder, split in SPLITS.items():
            if (source / "leftImg8bit_sequence" / folder).is_dir():
                splits[split] = self._split(source, folder)
            else:
                notes.append(f"no {source / 'leftImg8bit_sequence' / folder}: there is no split '{split}'")
        if not (source / "camera").is_dir():
            notes.append(f"no {source / 'camera'}: Cityscapes' usual intrinsics are taken for all images")
        return Scan(splits, tuple(notes))

    def _split(self, source: pathlib.Path, split: str) -> list[Clip]:
        clips = []
        for (city, sequence), files in frame_files(source / "leftImg8bit_sequence" / split, "_leftImg8bit.png").items():
            for run in runs_of_consecutive(files):
                annotated = f"{city}_{sequence}_{run[0] + ANNOTATED:06d}"
                camera, _ = read_camera(source, split, city, annotated)
                frames = (
                    Frame(id=f"{city}_{sequence}_{n:06d}", image=str(files[n]), camera=camera, number=n) for n in run
                )
                clips.append(Clip(f"{city}_{sequence}_{run[0]:06d}", tuple(frames)))
        return clips
