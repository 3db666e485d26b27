"""Images and videos to predict on: any number of files and folders that a user gives, of any size."""

import contextlib
import dataclasses
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from sdeseg_jax.config import UserError
from sdeseg_jax.data import video_files
from sdeseg_jax.data.builders.image_reading import read_image
from sdeseg_jax.data.builders.scanned_clips import IMAGE_SUFFIXES, file_key

_IMAGES, _VIDEOS = ", ".join(IMAGE_SUFFIXES), ", ".join(video_files.VIDEO_SUFFIXES[:14]) + ", …"


@dataclasses.dataclass(frozen=True)
class Medium:
    """An image or a video.

    Attributes:
      path: of the file.
      name: of its predictions, unique among all; frames of a video are called `name/000000`, and so on.
      is_video: True for a video, False for an image.
    """

    path: pathlib.Path
    name: str
    is_video: bool

    def frame_name(self, number: int) -> str:
        """Returns the name of a video's frame."""
        return f"{self.name}/{number:06d}"

    def identity(self) -> dict:
        """Returns path, size and time of the last change, which differ when the content does."""
        stat = self.path.stat()
        return {"source": str(self.path.resolve()), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def find_media(inputs: Sequence[str], results: str = "") -> tuple[list[Medium], Counter]:
    """Finds all images and videos in some files and folders, in natural order.

    Args:
      inputs: files and folders.
      results: name of a file that marks folders of predictions, which are not searched.

    Returns:
      The media, and the number of files left out per ending.

    Raises:
      UserError: there are no inputs, or some do not exist, cannot be read or hold no images and videos; reports all
        problems together.
    """
    if not inputs:
        raise UserError("--input is missing: give an image, a video or a folder of them; it may be given several times")
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
                problems.append(f"--input={path}: holds neither images nor videos")
            found += [(one, _stem(one.relative_to(path)), path) for one in inside]
        elif not path.exists():
            problems.append(f"--input={path}: does not exist")
        elif not _kind(path):
            problems.append(f"--input={path}: is neither an image ({_IMAGES}) nor a video ({_VIDEOS})")
        else:
            found.append((path, _stem(pathlib.Path(path.name)), path.parent))
    if problems:
        raise UserError("\n".join(problems))
    unique: dict[pathlib.Path, tuple] = {}
    for one in found:  # a file that several inputs lead to gets its shortest name
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
    """Collects images and videos, without hidden files; does not follow links from a folder back into itself."""
    place = folder.resolve()
    if place in above or (results and (folder / results).exists()):
        return
    for path in sorted(folder.iterdir(), key=file_key):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            _walk(path, results, files, others, (*above, place))
        elif _kind(path):
            files.append(path)
        elif path.suffix:
            others[path.suffix.lower()] += 1


def _named(found: list[tuple[pathlib.Path, str, pathlib.Path]]) -> list[Medium]:
    """Makes equal names unique: adds the file's ending, then the folder, then uses the whole path, then a number.

    Names that differ only in case are equal on some disks, and a video's name is the folder of its frames.
    """
    changes = (
        lambda path, name, root: name + path.suffix.replace(".", "_"),
        lambda path, name, root: f"{root.resolve().name}/{name}",
        lambda path, name, root: path.resolve().as_posix().lstrip("/"),
    )
    for change in changes:
        counts = Counter(name.casefold() for _, name, _ in found)
        folders = {str(one) for name in counts for one in pathlib.PurePosixPath(name).parents}
        found = [
            (path, change(path, name, root) if _is_taken(path, name.casefold(), counts, folders) else name, root)
            for path, name, root in found
        ]
    seen, media = Counter(), []
    for path, name, _ in found:
        seen[name.casefold()] += 1
        number = seen[name.casefold()]
        media.append(Medium(path, name if number == 1 else f"{name}_{number}", _kind(path) == "video"))
    return media


def _is_taken(path: pathlib.Path, name: str, counts: Counter, folders: set[str]) -> bool:
    return counts[name] > 1 or (_kind(path) == "video" and name in folders)


def read_frames(medium: Medium, notes: list[str] | None = None) -> Iterator[np.ndarray]:
    """Yields the image, or all frames of the video in order: uint8 [H, W, 3].

    Args:
      medium: to read.
      notes: receives, behind the last frame of a video, what is not used of it and how its shape is changed.

    Raises:
      ValueError: the file cannot be read, or only up to some frame; the message says why.
    """
    if medium.is_video:
        yield from video_files.iterate_frames(str(medium.path), notes)
        return
    try:
        image = np.asarray(read_image(medium.path))
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise ValueError(f"cannot be decoded ({str(error) or type(error).__name__})") from error
    yield image


def estimate_frames(media: Sequence[Medium]) -> int:
    """Estimates the number of images from the headers of videos, for progress bars; at least one each."""
    total = len(media)
    for medium in media:
        with contextlib.suppress(ValueError):
            total += max(0, video_files.stated_frames(str(medium.path)) - 1) if medium.is_video else 0
    return total


def frame_rate(medium: Medium) -> Fraction:
    """Returns the frames per second of a video, 25 if the file does not say. Raises ValueError if it is unreadable."""
    return video_files.frame_rate(str(medium.path)) or Fraction(25)
