"""Every frame of Cityscapes' 30-frame snippets, for learning depth from video."""

import pathlib

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.cityscapes import SPLITS, frame_files, read_camera
from sdeseg_jax.data.builders.scanned_clips import Clip, Frame, Scan, require_folders, runs_of_consecutive


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
            stated = camera_numbers(source, split, city, sequence)
            for run in runs_of_consecutive(files):
                # Of a snippet, only the annotated frame has a camera file; snippets may follow without a gap.
                own = [number for number in stated if run[0] <= number <= run[-1]] or [run[0]]
                cameras = {n: read_camera(source, split, city, f"{city}_{sequence}_{n:06d}")[0] for n in own}
                frames = (
                    Frame(
                        id=f"{city}_{sequence}_{n:06d}", image=str(files[n]), number=n,
                        camera=cameras[min(own, key=lambda other, n=n: abs(other - n))],
                    )
                    for n in run
                )  # fmt: skip
                clips.append(Clip(f"{city}_{sequence}_{run[0]:06d}", tuple(frames)))
        return clips


def camera_numbers(source: pathlib.Path, split: str, city: str, sequence: str) -> list[int]:
    """Numbers of a sequence's frames that have a file in `camera/`."""
    names = (source / "camera" / split / city).glob(f"{city}_{sequence}_*_camera.json")
    return sorted(int(path.name.removesuffix("_camera.json").rpartition("_")[2]) for path in names)
