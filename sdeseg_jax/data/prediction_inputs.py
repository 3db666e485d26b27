"""Images and videos to predict on, as a user names them: files, folders, in any number and of any size."""

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from sdeseg_jax.config import UserError
from sdeseg_jax.data.builders import video_files
from sdeseg_jax.data.builders.frame_encoding import read_image
from sdeseg_jax.data.builders.scanned_clips import IMAGE_SUFFIXES, natural_key

_VIDEOS = ", ".join(video_files.VIDEO_SUFFIXES)


@dataclasses.dataclass(frozen=True)
class Medium:
    """An image or a video.

    Attributes:
      path: of the file.
      name: of what is predicted for it, unique among all; frames of a video are called `name/000000`, and so on.
      is_video: which of the two.
    """

    path: pathlib.Path
    name: str
    is_video: bool

    def frame_name(self, number: int) -> str:
        """Name of a frame of a video."""
        return f"{self.name}/{number:06d}"

    def identity(self) -> dict:
        """What tells its content from another: place, size and time of the last change."""
        stat = self.path.stat()
        return {"source": str(self.path.resolve()), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def find_media(inputs: Sequence[str], results: str = "") -> tuple[list[Medium], Counter]:
    """All images and videos that some paths name; folders with all that is in them, in natural order.

    Args:
      inputs: files and folders.
      results: name of a file that marks folders of predictions, which are not looked into.

    Returns:
      The media, and how many files of which endings were left out.

    Raises:
      ConfigError: a path does not exist, cannot be read or is of another kind, or there is nothing at all.
    """
    if not inputs:
        raise UserError("--input is missing: an image, a video or a folder of them; it can be given several times")
    problems, found, others = [], [], Counter()
    for text in inputs:
        path = pathlib.Path(text).expanduser()
        if path.is_dir():
            inside: list[pathlib.Path] = []
            try:
                _walk(path, results, inside, others, ())
            except OSError as error:
                problems.append(f"--input={path}: {error.filename} cannot be read ({error.strerror})")
                continue
            if not inside:
                problems.append(f"--input={path}: there is no image and no video in it")
            found += [(one, _stem(one.relative_to(path)), path) for one in inside]
        elif not path.exists():
            problems.append(f"--input={path}: there is no such file or folder")
        elif not _kind(path):
            problems.append(
                f"--input={path}: is neither an image ({', '.join(IMAGE_SUFFIXES)}) nor a video ({_VIDEOS})"
            )
        else:
            found.append((path, _stem(pathlib.Path(path.name)), path.parent))
    if problems:
        raise UserError("\n".join(problems))
    unique: dict[pathlib.Path, tuple] = {}
    for one in found:  # a file that several ways lead to has its shortest name
        key = one[0].resolve()
        if key not in unique or len(one[1]) < len(unique[key][1]):
            unique[key] = one
    return _named(list(unique.values())), others


def _kind(path: pathlib.Path) -> str:
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else "video" if suffix in video_files.VIDEO_SUFFIXES else ""


def _stem(path: pathlib.Path) -> str:
    return path.with_suffix("").as_posix()


def _walk(folder: pathlib.Path, results: str, files: list, others: Counter, above: tuple[pathlib.Path, ...]) -> None:
    """Collects files that can be read, hidden ones left out; no folder is looked into from within itself."""
    place = folder.resolve()
    if place in above or (results and (folder / results).exists()):
        return
    for path in sorted(folder.iterdir(), key=lambda one: natural_key(one.name)):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            _walk(path, results, files, others, (*above, place))
        elif _kind(path):
            files.append(path)
        elif path.suffix:
            others[path.suffix.lower()] += 1


def _named(found: list[tuple[pathlib.Path, str, pathlib.Path]]) -> list[Medium]:
    """Where names are the same, the ending of the file and then the folder tell them apart.

    Names that differ in case alone are the same on some disks, and a video's is that of the folder of its frames.
    """
    for change in (lambda path, name, root: name + path.suffix.replace(".", "_"),
                   lambda path, name, root: f"{root.resolve().name}/{name}",
                   lambda path, name, root: path.resolve().as_posix().lstrip("/")):  # fmt: skip
        counts = Counter(name.casefold() for _, name, _ in found)
        folders = {str(one) for name in counts for one in pathlib.PurePosixPath(name).parents}
        found = [
            (path, change(path, name, root) if _is_taken(path, name.casefold(), counts, folders) else name, root)
            for path, name, root in found
        ]
    seen: Counter = Counter()
    media = []
    for path, name, _ in found:
        seen[name.casefold()] += 1
        number = seen[name.casefold()]
        media.append(Medium(path, name if number == 1 else f"{name}_{number}", _kind(path) == "video"))
    return media


def _is_taken(path: pathlib.Path, name: str, counts: Counter, folders: set[str]) -> bool:
    return counts[name] > 1 or (_kind(path) == "video" and name in folders)


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


def estimate_frames(media: Sequence[Medium]) -> int:
    """About how many images there are, for progress, by what videos say of themselves; at least one each."""
    total = 0
    for medium in media:
        try:
            total += max(1, video_files.stated_frames(str(medium.path))) if medium.is_video else 1
        except ValueError:
            total += 1
    return total


def frame_rate(medium: Medium) -> Fraction:
    """Frames per second of a video; 25 if it does not say. Raises ValueError if it cannot be read."""
    return video_files.frame_rate(str(medium.path)) or Fraction(25)
