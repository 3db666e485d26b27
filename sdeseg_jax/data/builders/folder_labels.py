"""Finds the labels of a user's folder (see `folder.Folder`) and the images that they belong to."""

import difflib
import os
import pathlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data.builders.folder_contents import visible
from sdeseg_jax.data.builders.frame_order import same_form
from sdeseg_jax.data.builders.scanned_clips import IMAGE_SUFFIXES, Frame, is_broken_link
from sdeseg_jax.data.builders.source_errors import SourceError

FOLDERS = (
    "labels", "label", "masks", "mask", "annotations", "segmentation", "segmentations", "segmentationclass",
    "ground_truth", "groundtruth", "gt",
)  # fmt: skip
"""Names of the folder of labels, in any letter case: the first that holds a PNG file counts."""

_CLIPS, _IMAGES = "clips", "images"


def label_folder(source: pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds labels; `labels/` if there are none.

    Raises:
      SourceError: it is a symbolic link that leads nowhere.
    """
    folders = _candidates(source)
    return next((folder for folder in folders if label_files(folder)), source / FOLDERS[0])


def _candidates(source: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders that may hold labels by their names, the likeliest first."""
    known = [path for path in visible(source) if path.name.lower() in FOLDERS]
    for path in known:
        if is_broken_link(path):
            raise SourceError(f"{path} is a broken symbolic link, to {path.readlink()}; repair or remove it")
    return sorted((path for path in known if path.is_dir()), key=lambda path: FOLDERS.index(path.name.lower()))


def label_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the label files of a folder and all folders below it, in natural order."""
    return [path for path in _walk(folder) if path.suffix.lower() == ".png"]


def _walk(folder: pathlib.Path, above: tuple[pathlib.Path, ...] = ()) -> Iterator[pathlib.Path]:
    """Yields files at any depth, with links that lead nowhere; follows no link from a folder back into itself."""
    place = folder.resolve()
    if place in above:
        return
    entries = visible(folder)
    yield from (path for path in entries if path.is_file() or is_broken_link(path))
    for path in entries:
        if path.is_dir():
            yield from _walk(path, (*above, place))


def match_labels(
    folder: pathlib.Path, frames: Mapping[str, Mapping[str, Frame]], notes: list[str]
) -> dict[tuple[str, str], str]:
    """Finds the image of every label.

    Folders between `folder` and a label count if they are called like a clip, or `images` or `clips`; others do not.

    Args:
      frames: clip -> name -> frame; single images under "".
      notes: receives labels without an image and files that are not labels.

    Returns:
      (clip, name) -> label file.

    Raises:
      SourceError: a label may belong to several images, an image has two labels that differ, or no label has an image.
    """
    places, labels, lost, same = _clips_with(frames), {}, [], []
    files = label_files(folder)
    if others := [path for path in _walk(folder) if path.suffix.lower() in {*IMAGE_SUFFIXES} - {".png"}]:
        example = f"e.g. {min(others).name}; JPEG blurs class borders"
        notes.append(f"{folder}: {len(others)} files are not used because they are not PNG, {example}")
    for path in files:
        keys = _fitting(path.relative_to(folder), places, frames)
        if len(keys) > 1:
            listed = ", ".join(f"{_CLIPS}/{clip}" if clip else _IMAGES for clip, _ in keys)
            raise SourceError(
                f"{path} may belong to several images: {listed} each have a {path.stem}; move labels of clips to "
                f"{folder}/<clip>/{path.name}, or rename the images"
            )
        if not keys:
            lost.append(path)
        elif other := labels.get(keys[0]):
            if not _alike(other, path):
                raise SourceError(f"{other} and {path} belong to the same image and differ; remove one of them")
            same.append(f"{other} and {path}")
        else:
            labels[keys[0]] = str(path)
    if same:
        notes.append(f"{folder}: {len(same)} labels are there twice with the same content, e.g. {same[0]}")
    if lost:
        notes.append(_lost_note(folder, lost, frames, all_lost=len(lost) == len(files)))
    return labels


def _clips_with(frames: Mapping[str, Mapping[str, Frame]]) -> dict[str, list[tuple[str, str]]]:
    """Returns name of a label without ".png" -> (clip, name) of the frames: their names, with or without ending."""
    places = defaultdict(list)
    for clip, names in frames.items():
        for name, frame in names.items():
            places[name].append((clip, name))
            if frame.video_index is None:  # some tools call the label of a.jpg a.jpg.png
                places[same_form(pathlib.Path(frame.image).name)].append((clip, name))
    return places


def _fitting(path: pathlib.Path, places: Mapping[str, list], frames: Mapping[str, Mapping]) -> list[tuple[str, str]]:
    """Returns the frames, (clip, name), that a label may belong to.

    Args:
      path: relative to the folder of labels.
    """
    keys = places.get(same_form(path.stem), [])
    for part in map(same_form, reversed(path.parent.parts)):
        if part in frames:
            return [key for key in keys if key[0] == part]
        if part.lower() in (_IMAGES, _CLIPS):
            return [key for key in keys if (key[0] == "") == (part.lower() == _IMAGES)]
    # A folder called almost like a clip is a typing error rather than any other folder.
    near = [part for part in path.parent.parts if difflib.get_close_matches(part, [*filter(None, frames)], cutoff=0.8)]
    return [] if near else keys


def _alike(first: str, second: pathlib.Path) -> bool:
    """Whether two label files hold the same."""
    if is_broken_link(pathlib.Path(first)) or is_broken_link(second):
        return False
    if pathlib.Path(first).read_bytes() == second.read_bytes():
        return True
    try:
        with Image.open(first) as one, Image.open(second) as other:
            same_mode = one.mode == other.mode and one.getpalette() == other.getpalette()
            return same_mode and np.array_equal(np.asarray(one), np.asarray(other))
    except Exception:  # of a damaged file: of many types
        return False


def _lost_note(folder: pathlib.Path, lost: list[pathlib.Path], frames: Mapping, all_lost: bool) -> str:
    """Returns the note on labels without an image; raises it if no label has one."""
    names = [same_form(str(path.relative_to(folder).with_suffix(""))) for path in lost]
    known = [*frames.get("", ()), *(f"{clip}/{name}" for clip, named in frames.items() if clip for name in named)]
    if lost[0].parent == folder:
        known = [name for named in frames.values() for name in named]
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    note = f"{folder}: {len(lost)} labels have no image and are not used: {shown}{nearest(names[0], known)}"
    if all_lost:
        raise SourceError(f"{note}\nName a label like its image; frame 123 of drive.mp4 is drive_000123.")
    return note


def label_warnings(
    source: pathlib.Path, folder: pathlib.Path, frames: Mapping[str, Mapping[str, Frame]], found: int
) -> list[str]:
    """Returns warnings on labels that are not found: where they were looked for, and what may be some.

    Args:
      folder: that they were read from.
      frames: clip -> name -> frame; single images under "".
      found: number of labels that belong to an image.
    """
    places, warnings, similar = _clips_with(frames), [], []
    for path in (path for path in visible(source) if path.is_dir() and path != folder):
        if path.name not in (_CLIPS, _IMAGES):
            names = [one for one in label_files(path) if same_form(one.stem) in places]
            similar += [f"{path.name}/ holds {len(names)} PNG files named like images"] if names else []
    if found and similar:
        warnings.append(f"labels are read from {folder} alone: {'; '.join(similar)}, which are not used")
    if found or not ((source / "classes.json").exists() or similar):
        return warnings
    clip, name = next((clip, name) for clip, names in frames.items() for name in names)
    own = "" if frames[clip][name].video_index is not None or not clip else f"{clip}/"
    held = (
        f"it holds {len(os.listdir(folder))} entries, none of them a PNG file" if folder.is_dir() else "it is missing"
    )
    what = f"{source / 'classes.json'} is there, but no" if (source / "classes.json").exists() else "no"
    warnings.append(
        f"{what} image has a label: {folder} was searched with all folders below it for PNG files named like images, "
        f"e.g. {folder.name}/{own}{name}.png; {held}. {'; '.join(similar) or 'Nothing like labels lies beside it'}"
        + (": rename the folder to labels if these are labels" if similar else "")
    )
    return warnings
