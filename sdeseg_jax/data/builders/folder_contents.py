"""Videos and images in a user's folder, see `folder.Folder`: what there is, of what size, by which camera."""

import contextlib
import dataclasses
import pathlib
from collections import Counter
from collections.abc import Collection, Iterable

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data.builders import video_files
from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.folder_json_files import CAMERA_EXAMPLE, read_camera
from sdeseg_jax.data.builders.frame_encoding import open_image
from sdeseg_jax.data.builders.scanned_clips import IMAGE_SUFFIXES, Frame, describe, list_files, natural_key
from sdeseg_jax.data.builders.source_errors import SourceError

CAMERA_SUFFIX = ".camera.json"
MAX_STRETCH = 1.05
"""Change of an image's shape that no note speaks of: sides that are multiples of 32 need some."""

_CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")
_READABLE = ", ".join(IMAGE_SUFFIXES)
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap width and height


@dataclasses.dataclass(frozen=True)
class Footage:
    """A clip as it lies on disk: images of a folder, or a video file, for which `images` is empty."""

    name: str
    path: pathlib.Path
    images: tuple[pathlib.Path, ...]

    def frames(self) -> dict[str, Frame]:
        """All frames in order, by the name that labels have.

        Raises:
          ValueError: a video file cannot be read.
        """
        if not self.images:
            stems = (f"{self.name}_{number:06d}" for number in range(video_files.count_frames(self.path)))
            return {stem: Frame(stem, str(self.path), video_index=number) for number, stem in enumerate(stems)}
        prefix = f"{self.name}_"
        return {p.stem: Frame(prefix + p.stem.removeprefix(prefix), str(p)) for p in self.images}


def visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """Files and folders of a folder in natural order, without what systems leave behind; none if it is not there."""
    found = folder.iterdir() if folder.is_dir() else ()
    kept = (p for p in found if not p.name.startswith(".") and p.name.lower() not in _CLUTTER)
    return sorted(kept, key=lambda p: natural_key(p.name))


def find_footage(source: pathlib.Path, layout: str) -> tuple[list[Footage], list[pathlib.Path], list[str]]:
    """Finds clips, single images, and what is not used of `clips/` and `images/` (notes), without opening files.

    Raises:
      SourceError: there are none, a clip is empty, two have one name, or a camera file is of no clip.
    """
    footage: dict[str, Footage] = {}
    cameras, notes, unused = [], [], []
    for path in visible(source / "clips"):
        if path.is_dir():
            one = Footage(path.name, path, tuple(list_files(path)))
            others = _others(path, one.images)
            if not one.images:
                found = f", but {_listed(Counter(map(_ending, others)))}" if others else ""
                raise SourceError(
                    f"{path} holds no image{found}; the frames of a clip are expected there ({_READABLE})"
                )
            unused += others
            _check_names(one.images)
        elif path.suffix.lower() in video_files.VIDEO_SUFFIXES:
            one = Footage(path.stem, path, ())
        elif path.name.endswith(CAMERA_SUFFIX):
            cameras.append(path)
            continue
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            raise SourceError(f"{path} is in no clip; the frames of each video belong into a folder: clips/<name>/")
        else:
            notes.append(f"{path} is neither a folder nor a video; it is not used")
            continue
        if one.name in footage:
            raise SourceError(f"{footage[one.name].path} and {path} are both clip '{one.name}'; rename one of them")
        footage[one.name] = one
    for path in cameras:
        if (name := path.name.removesuffix(CAMERA_SUFFIX)) not in footage:
            raise SourceError(f"{path}: there is no clip '{name}'{nearest(name, footage)}")
    images = list_files(source / "images")
    _check_names(images)
    unused += _others(source / "images", images)
    if unused:
        kinds = Counter(map(_ending, unused))
        example = max(unused, key=lambda path: kinds[_ending(path)]).relative_to(source)
        notes.append(
            f"{source}: {len(unused)} files are not used because of their ending ({_listed(kinds)}), e.g. {example}; "
            f"images may be {_READABLE}: convert others"
        )
    if not footage and not images:
        raise SourceError("\n".join([f"{source} holds no clips and no images.", *notes, describe(source, layout)]))
    return list(footage.values()), images, notes


def _others(folder: pathlib.Path, images: Collection[pathlib.Path]) -> list[pathlib.Path]:
    """What a folder of images has beside them and their camera."""
    used = {*images, folder / "camera.json"}
    return [path for path in visible(folder) if path not in used]


def _ending(path: pathlib.Path) -> str:
    """'.heic'; the whole name of a folder, or of a file without ending."""
    return f"{path.name}/" if path.is_dir() else path.suffix.lower() or path.name


def _listed(kinds: Counter) -> str:
    """'2 .heic, 1 .txt'."""
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(5)) + ", …" * (len(kinds) > 5)


def _check_names(images: Collection[pathlib.Path]) -> None:
    seen: dict[str, pathlib.Path] = {}
    for path in images:
        if path.stem in seen:
            raise SourceError(f"{seen[path.stem]} and {path.name} have one name; rename or remove one of them")
        seen[path.stem] = path


def image_size(paths: Collection[pathlib.Path]) -> tuple[int, int]:
    """(width, height) of the first image or video that can be read, as it is shown, from its header.

    Raises:
      SourceError: none can be read.
    """
    problem: Exception | None = None
    for path in paths:
        try:
            if path.suffix.lower() in video_files.VIDEO_SUFFIXES:
                return video_files.frame_size(path)
            with open_image(path) as image:
                # Of a TIFF file, some versions of Pillow state the size as it is shown; its tags have it as stored.
                size = (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size
                return size[::-1] if image.getexif().get(_ORIENTATION) in _LYING else size
        except Exception as error:  # of many kinds for broken files; preparing names them all
            problem = problem or SourceError(f"{path}: {error}")
    raise problem or SourceError("there is no image")


def stretch_notes(files: Iterable[tuple[pathlib.Path, int]], size: tuple[int, int]) -> list[str]:
    """A note on images that are of another shape than they are stored in, if there are any.

    Args:
      files: (image or video, number of stored images that have its size).
      size: (width, height) that is stored.
    """
    stretched: list[tuple[str, int]] = []
    for path, number in files:
        with contextlib.suppress(SourceError):  # of broken files; preparing names them
            width, height = image_size([path])
            change = width * size[1] / (height * size[0])
            if max(change, 1 / change) > MAX_STRETCH:
                stretched.append((f"{path} ({width}x{height})", number))
    if not stretched:
        return []
    total, (example, _) = sum(number for _, number in stretched), stretched[0]
    return [
        f"{total} images are of another shape than {size[0]}x{size[1]} and are stretched to it, e.g. {example}; to "
        "avoid that, crop them before, with their labels, or choose another --size"
    ]


def find_camera(source: pathlib.Path, footage: Footage, frames: int) -> Camera | None:
    """The camera of a clip; None for a clip that is too short to learn depth from where none is stated.

    Raises:
      SourceError: it is missing, stated twice, or wrong.
    """
    own = [footage.path / "camera.json", source / "clips" / f"{footage.name}{CAMERA_SUFFIX}"]
    found = [path for path in own if path.exists()]
    if len(found) > 1:
        raise SourceError(f"{found[0]} and {found[1]} are both of one clip; remove one of them")
    if not found and (source / "camera.json").exists():
        found = [source / "camera.json"]
    if found:
        return read_camera(found[0], lambda: image_size(footage.images or [footage.path]))
    if frames < 3:
        return None
    raise SourceError(
        f"{source / 'camera.json'} is missing: learning depth from clips such as {footage.path} needs the camera. "
        f"Write there{CAMERA_EXAMPLE}"
    )
