"""Images and videos to predict on, as a user names them: files, folders, in any number and of any size."""

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from sdeseg_jax.config import ConfigError
from sdeseg_jax.data.builders import video_files
from sdeseg_jax.data.builders.encoding import read_image
from sdeseg_jax.data.builders.sources import IMAGE_SUFFIXES, natural_key

SUFFIXES = (*IMAGE_SUFFIXES, ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""Of images; videos have those of `video_files`."""


@dataclasses.dataclass(frozen=True)
class Medium:
    """An image or a video.

    Attributes:
      path: of the file.
      name: unique among all; frames of a video are called `name/000000`, and so on.
      is_video: which of the two.
    """

    path: pathlib.Path
    name: str
    is_video: bool

    def frame_name(self, number: int) -> str:
        """Name of a frame of a video."""
        return f"{self.name}/{number:06d}"


def find_media(inputs: Sequence[str], skipped: pathlib.Path | None = None) -> list[Medium]:
    """All images and videos that some paths name; folders with all that is in them, in natural order.

    Args:
      inputs: files and folders.
      skipped: a folder that is not looked into, such as that of the predictions.

    Raises:
      ConfigError: a path does not exist or is of another kind, or there is nothing at all.
    """
    if not inputs:
        raise ConfigError("--input is missing: an image, a video or a folder of them; it can be given several times")
    problems, found = [], []
    for text in inputs:
        path = pathlib.Path(text).expanduser()
        if path.is_dir():
            inside = [(one, _stem(one.relative_to(path))) for one in _walk(path, skipped)]
            if not inside:
                problems.append(f"--input={path}: there is no image and no video in it")
            found += [(one, name, path) for one, name in inside]
        elif not path.exists():
            problems.append(f"--input={path}: there is no such file or folder")
        elif not _kind(path):
            problems.append(f"--input={path}: is neither an image ({', '.join(SUFFIXES)}) nor a video ({_VIDEOS})")
        else:
            found.append((path, _stem(pathlib.Path(path.name)), path.parent))
    if problems:
        raise ConfigError("\n".join(problems))
    unique = {}
    for path, name, root in found:
        unique.setdefault(path.resolve(), (path, name, root))
    return _named(list(unique.values()))


_VIDEOS = ", ".join(video_files.VIDEO_SUFFIXES)


def _kind(path: pathlib.Path) -> str:
    suffix = path.suffix.lower()
    return "image" if suffix in SUFFIXES else "video" if suffix in video_files.VIDEO_SUFFIXES else ""


def _stem(path: pathlib.Path) -> str:
    return path.with_suffix("").as_posix()


def _walk(folder: pathlib.Path, skipped: pathlib.Path | None) -> list[pathlib.Path]:
    """Files that can be read, hidden ones left out."""
    files = []
    for path in sorted(folder.iterdir(), key=lambda one: natural_key(one.name)):
        if path.name.startswith(".") or (skipped and path.resolve() == skipped.resolve()):
            continue
        if path.is_dir():
            files += _walk(path, skipped)
        elif _kind(path):
            files.append(path)
    return files


def _named(found: list[tuple[pathlib.Path, str, pathlib.Path]]) -> list[Medium]:
    """Where names are the same, the ending of the file and then the folder tell them apart."""
    for change in (lambda path, name, root: name + path.suffix.replace(".", "_"),
                   lambda path, name, root: f"{root.resolve().name}/{name}",
                   lambda path, name, root: path.resolve().as_posix().lstrip("/")):  # fmt: skip
        counts = Counter(name for _, name, _ in found)
        found = [(path, change(path, name, root) if counts[name] > 1 else name, root) for path, name, root in found]
    return [Medium(path, name, _kind(path) == "video") for path, name, _ in found]


def read_frames(medium: Medium) -> Iterator[np.ndarray]:
    """Yields the images of a medium, uint8 [H, W, 3]: one, or all frames of a video in order.

    Raises:
      ValueError: it cannot be read, or not beyond some frame; says why.
    """
    if medium.is_video:
        yield from video_files.iterate_frames(str(medium.path))
        return
    try:
        image = np.asarray(read_image(medium.path))
    except Exception as error:  # of many kinds for broken files
        raise ValueError(f"cannot be decoded ({str(error) or type(error).__name__})") from error
    yield image


def count_frames(media: Sequence[Medium]) -> int:
    """Number of images, for progress; a video that cannot be read counts as one."""
    total = 0
    for medium in media:
        try:
            total += video_files.count_frames(medium.path) if medium.is_video else 1
        except ValueError:
            total += 1
    return total


def frame_rate(medium: Medium) -> Fraction:
    """Frames per second of a video; 25 if it does not say."""
    return video_files.frame_rate(str(medium.path)) or Fraction(25)
