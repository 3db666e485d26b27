"""Every frame of Cityscapes' 30-frame snippets, for learning depth from video."""

import pathlib

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.cityscapes import SPLITS, frame_files, read_camera
from sdeseg_jax.data.builders.scanned_clips import Clip, Frame, Scan, require_folders, runs_of_consecutive, scan_splits


class CityscapesVideo(FramesBuilder, skip_registration=True):
    """Cityscapes' sequence package: 30 frames at 17 Hz around every annotated one, stored without labels."""

    LAYOUT = """
        leftImg8bit_sequence/{train,val}/<city>/<city>_<seq>_<frame>_leftImg8bit.png
        camera/{train,val}/<city>/…_camera.json      (optional: intrinsics of every annotated image)
    """

    def scan(self, source: pathlib.Path) -> Scan:
        require_folders(source, ("leftImg8bit_sequence/train",), self.LAYOUT)
        splits, notes = scan_splits(source, SPLITS, "leftImg8bit_sequence/{}", self._split)
        if not (source / "camera").is_dir():
            notes.append(f"{source / 'camera'} is missing: all images get Cityscapes' usual intrinsics")
        return Scan(splits, tuple(notes))

    def _split(self, source: pathlib.Path, split: str, notes: list[str]) -> list[Clip]:
        clips = []
        for (city, sequence), files in frame_files(source / "leftImg8bit_sequence" / split, "_leftImg8bit.png").items():
            stated, prefix = camera_numbers(source, split, city, sequence), f"{city}_{sequence}"
            for run in runs_of_consecutive(files):
                # Only a snippet's annotated frame has a camera file, and snippets may follow each other without a gap.
                own = [number for number in stated if run[0] <= number <= run[-1]] or [run[0]]
                cameras = {n: read_camera(source, split, city, f"{prefix}_{n:06d}")[0] for n in own}
                frames = tuple(
                    Frame(f"{prefix}_{n:06d}", files[n], cameras[min(own, key=lambda m, n=n: abs(m - n))], number=n)
                    for n in run
                )
                clips.append(Clip(frames[0].id, frames))
        return clips


def camera_numbers(source: pathlib.Path, split: str, city: str, sequence: str) -> list[int]:
    """Returns the numbers of a sequence's frames that have a file in `camera/`."""
    names = (source / "camera" / split / city).glob(f"{city}_{sequence}_*_camera.json")
    return sorted(int(path.name.removesuffix("_camera.json").rpartition("_")[2]) for path in names)
