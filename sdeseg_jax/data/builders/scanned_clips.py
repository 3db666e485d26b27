"""What a builder finds on disk: clips of frames, and how their labels are read."""

import dataclasses
import pathlib
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.frame_order import natural_key
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import VOID

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".jpe", ".jfif",
)  # fmt: skip
"""Suffixes of images that can be read."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """The files and facts of one frame.

    Attributes:
      id: unique within the dataset.
      image: image file, or video file if `video_index` is not None.
      camera: intrinsics; None where the dataset states none (stored as NaN).
      label: label file, if the frame is annotated.
      number: place in its clip.
      is_context: stored as a neighbour only, never a training or evaluation image itself.
      stereo_disparity: 16-bit PNG of the official stereo disparity, d = (value - 1) / 256 pixels of that file.
      stereo_scale: metres * pixels: depth = stereo_scale / d.
      pose: camera to world, 16 numbers row by row, translation in metres.
      video_index: frame number within a video file.
      label_reading: how the label file holds classes, see `label_reading`; "" if that is found from the file alone.
      bit_depth: of the values in an image file with 16 bits per channel; 0 if the files of its folder show it.
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
    label_reading: str = ""
    bit_depth: int = 0


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
      notes: lines for the report: labels without an image, missing folders.
      warnings: lines at its end, on what is probably a mistake.
    """

    splits: dict[str, list[Clip]]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LabelFormat:
    """How label files encode classes.

    Attributes:
      train_ids: value in the file -> train id (or VOID). Other values are an error: the file or the list of classes is
        wrong.
      colors: (R, G, B) -> train id (or VOID), for files that hold colours instead.
      deep: files have 16 bits per channel; the class is in the first channel.
      own_colors: (R, G, B) -> train id of the colours that this program's predictions have in their palette.
      shared_colors: colours in `colors` that values of void have, too.
      names: of the classes, train id 0 first; () if label files cannot name them.
      holds: "ids" or "colors" if it is stated what label files hold, "" if the files show it.
    """

    train_ids: Mapping[int, int]
    colors: Mapping[tuple[int, int, int], int] | None = None
    deep: bool = False
    own_colors: Mapping[tuple[int, int, int], int] = dataclasses.field(default_factory=dict)
    shared_colors: Collection[tuple[int, int, int]] = ()
    names: tuple[str, ...] = ()
    holds: str = ""

    @classmethod
    def from_ids(cls, train_ids: Mapping[int, int], void: Iterable[int], deep: bool = False) -> "LabelFormat":
        """Returns the format of files that hold ids: those of the classes, and those of void."""
        return cls({**dict.fromkeys(void, VOID), **train_ids}, deep=deep)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Maps values [H, W], or [H, W, C] of deep files, to train ids [H, W] uint8; raises SourceError if unlisted."""
        found, places = np.unique(values if values.ndim == 2 else values[..., 0], return_inverse=True)
        train_ids = [self.train_ids.get(int(value), -1) for value in found]
        places = places.reshape(values.shape[:2])
        if unknown := [int(value) for value, train_id in zip(found, train_ids, strict=True) if train_id < 0]:
            raise unlisted(unknown, np.array(train_ids)[places] < 0)
        return np.array(train_ids, np.uint8)[places]


def unlisted(values: Sequence, where: np.ndarray) -> SourceError:
    """Returns the error for label values or colours that the list of classes lacks; `where` bool [H, W] they are."""
    shown = list(values[:5])
    return SourceError(f"holds class ids that are not in the list of classes: {shown} ({where.mean():.2%} of pixels)")


def list_files(folder: pathlib.Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[pathlib.Path]:
    """Returns a folder's files with one of the suffixes, in natural order, without hidden ones (`._x.png` of macOS).

    Symbolic links that lead nowhere are files, too: preparing reports them.
    """
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    return sorted((p for p in found if p.is_file() or is_broken_link(p)), key=file_key)


def is_broken_link(path: pathlib.Path) -> bool:
    """Whether a path is a symbolic link to something that does not exist."""
    return path.is_symlink() and not path.exists()


def file_key(path: pathlib.Path) -> tuple:
    """Returns a sorting key for files: natural order of their stems, so that `x.png` comes before `x (1).png`."""
    return natural_key(path.stem), path.name


def numbered_files(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns a folder's images as number at the end of the name -> file, in that order; others are left out."""
    numbers = ((re.search(r"\d+$", path.stem), path) for path in list_files(folder))
    return dict(sorted((int(number[0]), path) for number, path in numbers if number))


def require_folders(source: pathlib.Path, folders: Iterable[str], layout: str) -> None:
    """Raises SourceError, with the expected layout and what was found, if a folder is missing."""
    missing = [name for name in folders if not (source / name).is_dir()]
    if missing:
        raise SourceError(f"{source} has no folder {', '.join(missing)}.\n{describe(source, layout)}")


def scan_splits(
    source: pathlib.Path, splits: Mapping[str, str], pattern: str, scan: Callable
) -> tuple[dict[str, list[Clip]], list[str]]:
    """Returns (split -> clips, notes) of the splits whose folder exists.

    Args:
      splits: name of the folder -> split.
      pattern: path of that folder in `source`, with "{}" for the name.
      scan: function of (source, name, notes to add to) that returns the clips.
    """
    found, notes = {}, []
    for name, split in splits.items():
        if (folder := source / pattern.format(name)).is_dir():
            found[split] = scan(source, name, notes)
        else:
            notes.append(f"{folder} is missing: no split '{split}'")
    return found, notes


def describe(source: pathlib.Path, layout: str) -> str:
    """Returns the expected layout and what the folder holds."""
    if not source.exists():
        found = "it does not exist"
    elif not source.is_dir():
        found = "it is not a folder"
    else:
        entries = sorted(source.iterdir(), key=lambda p: natural_key(p.name))
        shown = [f"    {p.name}{'/' if p.is_dir() else ''}" for p in entries[:12]]
        more = [f"    … and {len(entries) - 12} more"] if len(entries) > 12 else []
        found = "\n".join(["", *shown, *more]) if entries else "it is empty"
    expected = textwrap.indent(textwrap.dedent(layout).strip("\n"), "    ")
    return f"Expected:\n{expected}\nFound in {source}: {found}"


def unmatched(images: Collection[str], labels: Collection[str], where: str) -> list[str]:
    """Returns notes on images without a label and labels without an image; both are given by the names that they share.

    Args:
      where: their split or folder, for the notes.
    """
    kinds = (
        (set(images) - set(labels), "images have no label; they count as unlabelled"),
        (set(labels) - set(images), "labels have no image; they are not used"),
    )
    return [f"{where}: {len(missing)} {what}, e.g. {min(missing)}" for missing, what in kinds if missing]


def video_clips(
    name: str,
    files: Mapping[int, pathlib.Path],
    camera: Camera | None,
    poses: Mapping[int, tuple[float, ...]] | None = None,
) -> list[Clip]:
    """Returns the frames of a video as clips, one per run of consecutive frame numbers.

    Args:
      name: of the video; names of clips and frames are this and the file's name.
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
