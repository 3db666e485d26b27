"""Finds videos and images in a user's folder (see `folder.Folder`), their sizes and cameras."""

import contextlib
import dataclasses
import pathlib
from collections import Counter
from collections.abc import Collection, Iterable

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data import video_files
from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.camera_json import CAMERA_EXAMPLE, read_camera
from sdeseg_jax.data.builders.clip_gaps import split_at_gaps
from sdeseg_jax.data.builders.frame_encoding import image_size
from sdeseg_jax.data.builders.frame_order import natural_key, order_frames, same_form
from sdeseg_jax.data.builders.scanned_clips import IMAGE_SUFFIXES, Frame, describe, is_broken_link, list_files
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.video_shape import square_size

CAMERA_SUFFIX = ".camera.json"
MAX_STRETCH = 1.05
"""Change of the aspect ratio that is not reported: rounding sides to multiples of 32 needs some."""

_SHOWN = 3
"""Most gaps of a clip that a note describes."""

_CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")
_READABLE = ", ".join(IMAGE_SUFFIXES)


@dataclasses.dataclass(frozen=True)
class Footage:
    """A clip on disk: a folder of images, or a video file (then `images` is empty).

    Attributes:
      name: of the clip, in the form of `frame_order.same_form`, as all names of frames.
      path: of the folder or file.
      images: in the order of their frames.
      starts: places in `images` at which a clip of its own begins, see `clip_gaps`; the first is 0.
    """

    name: str
    path: pathlib.Path
    images: tuple[pathlib.Path, ...]
    starts: tuple[int, ...] = (0,)

    def frames(self, notes: list[str] | None = None) -> dict[str, Frame]:
        """Returns all frames in order, name of the label -> frame.

        Args:
          notes: receives what is not used of a video, or is shown in another shape than it is stored in.

        Raises:
          ValueError: a video cannot be read.
        """
        if not self.images:
            content = video_files.video_content(self.path)
            if notes is not None:
                notes += [f"{self.path}: {note}" for note in content.notes]
            stems = (f"{self.name}_{number:06d}" for number in range(content.frames))
            return {stem: Frame(stem, str(self.path), video_index=number) for number, stem in enumerate(stems)}
        prefix, stems = f"{self.name}_", [same_form(path.stem) for path in self.images]
        named = zip(stems, self.images, strict=True)
        return {stem: Frame(prefix + stem.removeprefix(prefix), str(path)) for stem, path in named}


def visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns a folder's entries in natural order, without hidden and system files; none if it does not exist."""
    found = folder.iterdir() if folder.is_dir() else ()
    kept = (p for p in found if not p.name.startswith(".") and p.name.lower() not in _CLUTTER)
    return sorted(kept, key=lambda p: natural_key(p.name))


def find_footage(source: pathlib.Path, layout: str) -> tuple[list[Footage], list[pathlib.Path], list[str]]:
    """Returns clips, single images, and notes on unused files of `clips/` and `images/`; opens no file.

    Raises:
      SourceError: nothing is found, a clip is empty, two have the same name, or a camera file belongs to no clip.
    """
    footage: dict[str, Footage] = {}
    cameras, notes, unused = [], [], []
    for path in visible(source / "clips"):
        if path.is_dir():
            images = list_files(path)
            others = _others(path, images)
            if not images:
                found = f", but {_listed(Counter(map(_ending, others)))}" if others else ""
                raise SourceError(f"{path} holds no image{found}; put the frames of the clip there ({_READABLE})")
            unused += others
            _check_names(images)
            one = _image_clip(path, images, notes)
        elif path.suffix.lower() in video_files.VIDEO_SUFFIXES:
            one = Footage(same_form(path.stem), path, ())
        elif path.name.endswith(CAMERA_SUFFIX):
            cameras.append(path)
            continue
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            raise SourceError(f"{path} belongs to no clip; put the frames of each video into a folder: clips/<name>/")
        elif is_broken_link(path):
            raise SourceError(f"{path} is a broken symbolic link, to {path.readlink()}; repair or remove it")
        else:
            notes.append(f"{path} is neither a folder nor a video; it is not used")
            continue
        if one.name in footage:
            raise SourceError(f"{footage[one.name].path} and {path} are both clip '{one.name}'; rename one of them")
        footage[one.name] = one
    for path in cameras:
        if (name := same_form(path.name.removesuffix(CAMERA_SUFFIX))) not in footage:
            raise SourceError(f"{path}: clip '{name}' does not exist{nearest(name, footage)}")
    images = list_files(source / "images")
    _check_names(images)
    unused += _others(source / "images", images)
    if unused:
        kinds = Counter(map(_ending, unused))
        example = max(unused, key=lambda path: kinds[_ending(path)]).relative_to(source)
        notes.append(
            f"{source}: {len(unused)} files are not used because of their type ({_listed(kinds)}), e.g. {example}; "
            f"convert images to one of {_READABLE}"
        )
    if not footage and not images:
        raise SourceError("\n".join([f"{source} holds no clips and no images.", *notes, describe(source, layout)]))
    return list(footage.values()), images, notes


def _image_clip(path: pathlib.Path, images: Collection[pathlib.Path], notes: list[str]) -> Footage:
    """Returns the clip, or clips, of a folder of images; notes say how its names were read."""
    files = {image.stem: image for image in images}
    order, are_decimals, reading = order_frames(files)
    parts, unclear = split_at_gaps(order, are_decimals)
    notes += [f"{path}: {sentence}" for sentence in (reading, unclear) if sentence]
    if len(parts) > 1:
        ends = [part.ends for part in parts[:-1]]
        more = f" and {len(ends) - _SHOWN} more" if len(ends) > _SHOWN else ""
        notes.append(f"{path}: {len(parts)} clips, because {'; '.join(ends[:_SHOWN])}{more}")
    starts = [sum(len(part.stems) for part in parts[:number]) for number in range(len(parts))]
    return Footage(same_form(path.name), path, tuple(files[stem] for stem in order), tuple(starts))


def _others(folder: pathlib.Path, images: Collection[pathlib.Path]) -> list[pathlib.Path]:
    """Returns the entries of a folder of images other than these and their camera."""
    used = {*images, folder / "camera.json"}
    return [path for path in visible(folder) if path not in used]


def _ending(path: pathlib.Path) -> str:
    """Returns '.heic', or the whole name of a folder or of a file without suffix."""
    return f"{path.name}/" if path.is_dir() else path.suffix.lower() or path.name


def _listed(kinds: Counter) -> str:
    """Returns '2 .heic, 1 .txt'."""
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(5)) + ", …" * (len(kinds) > 5)


def _check_names(images: Collection[pathlib.Path]) -> None:
    seen: dict[str, pathlib.Path] = {}
    for path in images:
        if other := seen.get(name := same_form(path.stem)):
            how = "suffix" if other.stem == path.stem else "the form in which accents are stored"
            raise SourceError(f"{other} and {path.name} differ only in {how}; rename or remove one of them")
        seen[name] = path


def stretch_notes(files: Iterable[tuple[pathlib.Path, int]], size: tuple[int, int]) -> list[str]:
    """Returns a note on images whose aspect ratio differs from that of the stored size, if there are any.

    Args:
      files: (image or video, number of stored images of its size).
      size: stored (width, height).
    """
    stretched: list[tuple[str, int]] = []
    for path, number in files:
        with contextlib.suppress(SourceError):  # of damaged files; preparing reports them
            width, height = image_size([path])
            change = width * size[1] / (height * size[0])
            if max(change, 1 / change) > MAX_STRETCH:
                stretched.append((f"{path} ({width}x{height})", number))
    if not stretched:
        return []
    total, (example, _) = sum(number for _, number in stretched), stretched[0]
    return [
        f"{total} images have another aspect ratio than {size[0]}x{size[1]} and are stretched to it, e.g. {example}; "
        "to avoid this, crop them and their labels first, or choose another --size"
    ]


def find_camera(source: pathlib.Path, footage: Footage, frames: int) -> Camera | None:
    """Returns a clip's camera; None for a clip without one that is too short to learn depth from.

    Raises:
      SourceError: it is missing, given twice, or wrong.
    """
    # Its name may be stored in another form than the clip's.
    beside = [path for path in visible(source / "clips") if same_form(path.name) == f"{footage.name}{CAMERA_SUFFIX}"]
    found = [path for path in (footage.path / "camera.json", *beside) if path.exists()]
    if len(found) > 1:
        raise SourceError(f"{found[0]} and {found[1]} are cameras of the same clip; remove one of them")
    if not found and (source / "camera.json").exists():
        found = [source / "camera.json"]
    if found:
        if footage.images:
            return read_camera(found[0], lambda: image_size(footage.images))
        return _camera_of_video(found[0], footage.path)
    if frames < 3:
        return None
    raise SourceError(
        f"{source / 'camera.json'} is missing: learning depth from clips such as {footage.path} needs the camera. "
        f"Write it like this:{CAMERA_EXAMPLE}"
    )


def _camera_of_video(camera_file: pathlib.Path, video: pathlib.Path) -> Camera:
    """Returns the camera of a video as shown, with square pixels, even if it was calibrated in pixels as stored."""
    try:
        (width, height), pixel_aspect = video_files.stored_shape(video)
    except ValueError:  # preparing reports it
        return read_camera(camera_file, lambda: image_size([video]))
    size, aspect = square_size(width, height, pixel_aspect), float(width * pixel_aspect / height)
    camera = read_camera(camera_file, lambda: size, aspect)
    stated = camera.width / camera.height
    if abs(stated * height / width - 1) >= abs(stated / aspect - 1):
        return camera
    sx, sy = size[0] / camera.width, size[1] / camera.height  # it is for pixels as stored
    return Camera(camera.fx * sx, camera.fy * sy, (camera.cx + 0.5) * sx - 0.5, (camera.cy + 0.5) * sy - 0.5, *size)
