"""Videos and images in a user's folder, see `folder.Folder`: what there is, of what size, by which camera."""

import dataclasses
import pathlib
from collections.abc import Collection

from sdeseg_jax.data.builders import video_files
from sdeseg_jax.data.builders.camera import Camera
from sdeseg_jax.data.builders.encoding import open_image
from sdeseg_jax.data.builders.folder_files import CAMERA_EXAMPLE, read_camera
from sdeseg_jax.data.builders.problems import SourceError
from sdeseg_jax.data.builders.sources import IMAGE_SUFFIXES, Frame, describe, list_files, natural_key
from sdeseg_jax.names import nearest

CAMERA_SUFFIX = ".camera.json"
_CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")
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
    """Finds clips, single images, and what is odd about `clips/` (notes), without opening files.

    Raises:
      SourceError: there are none, a clip is empty, two have one name, or a camera file is of no clip.
    """
    footage: dict[str, Footage] = {}
    cameras, notes = [], []
    for path in visible(source / "clips"):
        if path.is_dir():
            one = Footage(path.name, path, tuple(list_files(path)))
            if not one.images:
                raise SourceError(f"{path} holds no .png or .jpg; the frames of a clip are expected there")
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
    if not footage and not images:
        raise SourceError(f"{source} holds no clips and no images.\n{describe(source, layout)}")
    return list(footage.values()), images, notes


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
                return image.size[::-1] if image.getexif().get(_ORIENTATION) in _LYING else image.size
        except Exception as error:  # of many kinds for broken files; preparing names them all
            problem = problem or SourceError(f"{path}: {error}")
    raise problem or SourceError("there is no image")


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
