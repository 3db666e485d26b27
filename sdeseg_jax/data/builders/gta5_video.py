"""VIPER (Playing for Benchmarks): video of the game that GTA5's images come from."""

import pathlib

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.cityscapes import SPLITS
from sdeseg_jax.data.builders.gta5 import CAMERA
from sdeseg_jax.data.builders.scanned_clips import Clip, Scan, numbered_files, require_folders, scan_splits, video_clips

CORRUPT = "train/img/052/052_00064.jpg"
"""Cannot be decoded in the official download."""


class Gta5Video(FramesBuilder, skip_registration=True):
    """VIPER: video at about 15 Hz, stored without labels, for learning depth."""

    LAYOUT = """
        train/img/<seq>/<seq>_<frame>.jpg
        val/img/<seq>/<seq>_<frame>.jpg    (optional)
    """

    def scan(self, source: pathlib.Path) -> Scan:
        require_folders(source, ("train/img",), self.LAYOUT)
        splits, notes = scan_splits(source, SPLITS, "{}/img", self._split)
        return Scan(splits, tuple(notes))

    def _split(self, source: pathlib.Path, folder: str, notes: list[str]) -> list[Clip]:
        clips = []
        for sequence in sorted(path for path in (source / folder / "img").iterdir() if path.is_dir()):
            files = numbered_files(sequence)
            for number in [n for n, path in files.items() if path == source / CORRUPT]:
                del files[number]
                notes.append(f"{CORRUPT} is left out: the published file is corrupt")
            # Sequences of both splits are numbered from 001; the folder makes ids unique.
            clips += video_clips(folder, files, CAMERA)
        return clips
