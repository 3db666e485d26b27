"""What a builder finds on disk: clips of frames, and how their labels are to be read."""

import dataclasses
import pathlib
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import VOID

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
"""Of images that can be read."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame, as files.

    Attributes:
      id: unique within the dataset.
      image: image file, or video file if `video_index` is not None.
      camera: intrinsics; None where the dataset states none (stored as NaN).
      label: label file, if it is annotated.
      number: place in its clip.
      is_context: stored as a neighbour only: never a training or evaluation image itself.
      stereo_disparity: 16-bit PNG of the official stereo disparity, d = (value - 1) / 256 pixels of that file.
      stereo_scale: metres * pixels: depth = stereo_scale / d.
      pose: camera to world, 16 numbers row by row, translation in metres.
      video_index: frame number within a video file.
    """

    id: str
    image: str
    camera: Camera | None = None
    label: str | None = None
    number: int = 0
    is_context: bool = False
    stereo_disparity: str | None = None
    stereo_scale: float = 0.0
    pose: tuple[float, ...] | None = None
    video_index: int | None = None


@dataclasses.dataclass(frozen=True)
class Clip:
    """Consecutive frames of one video; a single image is a clip of one frame."""

    name: str
    frames: tuple[Frame, ...]


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a source folder holds.

    Attributes:
      splits: split name -> clips in order.
      notes: what was odd, a line each, for the report: labels without an image, folders that are absent.
    """

    splits: dict[str, list[Clip]]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LabelFormat:
    """How label files encode classes.

    Attributes:
      train_ids: value in the file -> train id (or VOID). Values that are not listed are an error: a wrong file, or a
        wrong list of classes.
      colors: (R, G, B) -> train id (or VOID), for files that hold colours instead.
      deep: files have 16 bits per channel; the class is in the first channel.
    """

    train_ids: Mapping[int, int]
    colors: Mapping[tuple[int, int, int], int] | None = None
    deep: bool = False

    @classmethod
    def of_ids(cls, train_ids: Mapping[int, int], void: Iterable[int], deep: bool = False) -> "LabelFormat":
        """From the values of the classes and those of void."""
        return cls({**dict.fromkeys(void, VOID), **train_ids}, deep=deep)

    def decode(self, pixels: np.ndarray) -> np.ndarray:
        """Maps file values [H, W] or colours [H, W, 3] to train ids [H, W] uint8.

        Raises:
          SourceError: a value or colour is not in the list, or the file has colours where ids are expected.
        """
        if pixels.ndim == 3 and not self.deep:
            if self.colors is None:
                raise SourceError("holds colours, where class ids (one channel) are expected")
            packed = pixels[..., :3].astype(np.int64) @ (65536, 256, 1)
            table = {r * 65536 + g * 256 + b: train_id for (r, g, b), train_id in self.colors.items()}
        else:
            packed, table = (pixels[..., 0] if pixels.ndim == 3 else pixels), self.train_ids
        values, places = np.unique(packed, return_inverse=True)
        unknown = [int(value) for value in values if int(value) not in table]
        if unknown:
            share = np.isin(packed, unknown).mean()
            shown = [(v >> 16, v >> 8 & 255, v & 255) if table is not self.train_ids else v for v in unknown[:5]]
            raise SourceError(f"holds class ids that are not in the list of classes: {shown} ({share:.2%} of pixels)")
        return np.array([table[int(value)] for value in values], np.uint8)[places.reshape(packed.shape)]


def natural_key(name: str) -> list:
    """Sorting key by which frame 2 comes before frame 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(name))]


def list_files(folder: pathlib.Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[pathlib.Path]:
    """Files of a folder with one of the suffixes, in natural order; hidden ones (`._x.png` of a Mac) are left out."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    return sorted((p for p in found if p.is_file()), key=lambda p: natural_key(p.name))


def numbered_files(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Image files of a folder by the number that ends their name, in its order; others are left out."""
    numbers = ((re.search(r"\d+$", path.stem), path) for path in list_files(folder))
    return dict(sorted((int(number[0]), path) for number, path in numbers if number))


def require_folders(source: pathlib.Path, folders: Iterable[str], layout: str) -> None:
    """Raises SourceError, with the layout expected and what was found, if one of the folders is not there."""
    missing = [name for name in folders if not (source / name).is_dir()]
    if missing:
        raise SourceError(f"{source} has no folder {', '.join(missing)}.\n{describe(source, layout)}")


def describe(source: pathlib.Path, layout: str) -> str:
    """The layout expected beside what is there."""
    if not source.exists():
        found = "it does not exist"
    elif not source.is_dir():
        found = "it is a file"
    else:
        entries = sorted(source.iterdir(), key=lambda p: natural_key(p.name))
        shown = [f"    {p.name}{'/' if p.is_dir() else ''}" for p in entries[:12]]
        more = [f"    … and {len(entries) - 12} more"] if len(entries) > 12 else []
        found = "\n".join(["", *shown, *more]) if entries else "it is empty"
    expected = textwrap.indent(textwrap.dedent(layout).strip("\n"), "    ")
    return f"Expected:\n{expected}\nFound in {source}: {found}"


def unmatched(images: Collection[str], labels: Collection[str], where: str) -> list[str]:
    """Notes on images without a label and labels without an image, both by the names that they should share.

    Args:
      where: split or folder that they are of, for the notes.
    """
    notes = []
    for missing, what in (
        (set(images) - set(labels), "images have no label; they count as unlabelled"),
        (set(labels) - set(images), "labels have no image; they are not used"),
    ):
        if missing:
            notes.append(f"{where}: {len(missing)} {what}, e.g. {min(missing)}")
    return notes


def video_clips(
    name: str,
    files: Mapping[int, pathlib.Path],
    camera: Camera | None,
    poses: Mapping[int, tuple[float, ...]] | None = None,
) -> list[Clip]:
    """The frames of a video as clips, one per run of consecutive frame numbers.

    Args:
      name: of the video, the beginning of the names of its clips and frames; the rest is the file's.
      files: frame number -> image file.
      camera: of all frames.
      poses: frame number -> pose as in `Frame`.
    """
    clips = []
    for run in runs_of_consecutive(files):
        frames = tuple(
            Frame(f"{name}_{files[n].stem}", str(files[n]), camera, number=n, pose=poses[n] if poses else None)
            for n in run
        )
        clips.append(Clip(frames[0].id, frames))
    return clips


def runs_of_consecutive(numbers: Iterable[int], step: int = 1) -> list[list[int]]:
    """Splits frame numbers into runs whose neighbours differ by at most `step`; sorted, without duplicates."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number - runs[-1][-1] <= step:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
