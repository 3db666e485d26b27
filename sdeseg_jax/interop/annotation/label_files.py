"""Annotated images of an export -> label files in a user's folder, see `data.builders.folder.Folder`."""

import dataclasses
import io
import pathlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from sdeseg_jax.config.errors import UserError
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data.builders.folder_contents import image_size
from sdeseg_jax.data.builders.folder_frame_names import FolderFrame, FrameNames, ambiguous_labels
from sdeseg_jax.data.builders.folder_labels import label_files, label_folder, match_labels
from sdeseg_jax.data.builders.scanned_clips import LabelFormat
from sdeseg_jax.data.classes import VOID, ClassMap
from sdeseg_jax.interop.annotation.shapes_to_mask import VOID_NAME, AnnotatedImage, Shape, paint, read_pixels
from sdeseg_jax.interop.annotation.tool_exports import Export

_SHOWN = 20
"""Most names that a message lists."""


@dataclasses.dataclass
class Labels:
    """Labels made from an export.

    Attributes:
      files: label file -> its PNG; only those that have to be written.
      pixels: [C] of each class in all labels, without void; `total` includes void.
      unchanged: label files that already hold the same.
      empty: images of the export that nobody annotated.
      problems: a line each; if there are any, nothing should be written.
    """

    files: dict[pathlib.Path, bytes]
    pixels: np.ndarray
    total: int = 0
    unchanged: list[pathlib.Path] = dataclasses.field(default_factory=list)
    empty: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


def class_values(classes: ClassMap, labels: LabelFormat) -> dict[str, int]:
    """Returns class name -> value in label files, and `VOID_NAME` -> 255."""
    of_train_id = {train_id: value for value, train_id in labels.train_ids.items()}
    return {VOID_NAME: VOID} | {name: of_train_id[i] for i, name in enumerate(classes.names)}


def find_existing(source: pathlib.Path, frames: Mapping[str, FolderFrame]) -> dict[tuple[str, str], pathlib.Path]:
    """Returns (clip, stem) -> existing label file; raises SourceError if labels do not match the images."""
    if not label_files(folder := label_folder(source)):
        return {}
    named: dict[str, dict] = defaultdict(dict)
    for one in frames.values():
        named[one.clip][one.stem] = one.frame
    return {key: pathlib.Path(path) for key, path in match_labels(folder, named, []).items()}


def make_labels(
    export: Export,
    source: pathlib.Path,
    frames: Mapping[str, FolderFrame],
    classes: ClassMap,
    label_format: LabelFormat,
    background: str | None = None,
    by_area: bool = False,
    overwrite: bool = False,
) -> Labels:
    """Draws and checks all labels; writes nothing. Problems of the export are collected in the result.

    Args:
      export: of an annotation tool.
      source, frames: the user's folder and its frames.
      classes, label_format: of its `classes.json`.
      background: class of pixels that nobody annotated; None for void.
      by_area: draw larger shapes first, whatever the export's order.
      overwrite: whether existing labels that differ may be replaced.

    Raises:
      SourceError: existing labels do not match the images.
    """
    values, existing = class_values(classes, label_format), find_existing(source, frames)
    ambiguous, names = ambiguous_labels(frames), FrameNames(frames)
    result = Labels({}, np.zeros(len(classes), np.int64))
    unknown: dict[str, list[str]] = defaultdict(list)
    taken: dict[str, str] = {}
    lost = []
    for image in export.images:
        try:
            shapes = image.shapes()
            found = names.find(image.name) if shapes else None
        except (UserError, ValueError) as error:
            result.problems.append(f"{image.where}: {error}")
            continue
        for shape in shapes:
            if shape.class_name not in values:
                unknown[shape.class_name].append(shape.where)
        if not shapes:
            result.empty.append(image.name)
        elif found is None:
            lost.append(image.name)
        elif found.frame.id in taken:
            result.problems.append(f"{taken[found.frame.id]} and {image.name} both show {found.image}; remove one")
        elif found.label in ambiguous:
            places = ", ".join(ambiguous[found.label])
            result.problems.append(f"{found.label} could be the label of {places}; rename all but one")
        else:
            taken[found.frame.id] = image.name
            rest = values[background] if background else VOID
            label = _draw(image, shapes, found, values, rest, by_area or not export.ordered, result.problems)
            path = existing.get((found.clip, found.stem), source / found.label)
            if label is not None and not np.isin(label, [values[name] for name in classes.names]).any():
                result.problems.append(f"{image.where}: its shapes cover no pixel of any class; annotate or remove it")
            elif label is not None:
                _add_label(result, path, label, overwrite)
                result.pixels += np.bincount(label.ravel(), minlength=256)[[values[name] for name in classes.names]]
                result.total += label.size
    if lost:
        shown = ", ".join(lost[:_SHOWN]) + (f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else "")
        hint = nearest(pathlib.PurePath(lost[0]).stem, names.known())
        result.problems.append(f"{source} has no frames with the names of these images: {shown}{hint}")
    for name, places in unknown.items():
        what = f"class '{name}' is not in {source / 'classes.json'}{nearest(name, values)}"
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        result.problems.append(f"{places[0]}{more}: {what if name else 'no class; give it one'}")
    return result


def _draw(
    image: AnnotatedImage,
    shapes: Sequence[Shape],
    found: FolderFrame,
    values: Mapping[str, int],
    background: int,
    by_area: bool,
    problems: list[str],
) -> np.ndarray | None:
    """Returns the label map of one image; None if it has problems, which are added to `problems`."""
    try:
        width, height = image_size([pathlib.Path(found.frame.image)])
    except (UserError, ValueError) as error:
        problems.append(str(error))
        return None
    if image.size not in (None, (width, height)):
        problems.append(
            f"{image.where} is {image.size[0]}x{image.size[1]}, but {found.image} is {width}x{height}; "
            "annotate images of the original size"
        )
        return None
    label, wrong = paint(shapes, (height, width), values, background, by_area)
    problems += dict.fromkeys(wrong)  # each class in a broken file reports the same
    return None if wrong else label


def _add_label(result: Labels, path: pathlib.Path, label: np.ndarray, overwrite: bool) -> None:
    """Adds a label to the files to write, unless its file exists."""
    if path.exists():
        try:
            same = np.array_equal(read_pixels(path), label)
        except (UserError, ValueError):
            same = False
        if same:
            result.unchanged.append(path)
            return
        if not overwrite:
            result.problems.append(f"{path} exists and differs; use --overwrite to replace it")
            return
    stream = io.BytesIO()
    Image.fromarray(label).save(stream, "PNG")
    result.files[path] = stream.getvalue()
