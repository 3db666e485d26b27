"""Annotated images of an export -> label files in a user's folder, see `data.builders.folder.Folder`."""

import dataclasses
import io
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdeseg_jax.config.errors import UserError
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data.builders.folder_contents import image_size
from sdeseg_jax.data.builders.folder_frame_names import FolderFrame, FrameNames, ambiguous_labels
from sdeseg_jax.data.builders.folder_labels import label_files, label_folder, match_labels
from sdeseg_jax.data.builders.label_pixels import CLASSES_KEY, class_text
from sdeseg_jax.data.builders.label_reading import choose_readings, decode_label
from sdeseg_jax.data.builders.scanned_clips import LabelFormat
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import VOID, ClassMap
from sdeseg_jax.interop.annotation.shapes_to_mask import VOID_NAME, AnnotatedImage, Painting, Shape, paint, read_symbols
from sdeseg_jax.interop.annotation.tool_exports import Export

_SHOWN = 20
"""Most names that a message lists."""

_EXAMPLES = 10
"""Most names that a note lists."""


@dataclasses.dataclass
class Labels:
    """Labels made from an export.

    Attributes:
      files: label file -> its PNG; only those that have to be written.
      pixels: [C] of each class in all labels, without void; `total` includes void.
      unchanged: label files that already hold the same.
      empty: images of the export that nobody annotated, or that have stray shapes only.
      stray: shapes without area, which are left out, a line each.
      problems: a line each; if there are any, nothing should be written.
    """

    files: dict[pathlib.Path, bytes]
    pixels: np.ndarray
    total: int = 0
    unchanged: list[pathlib.Path] = dataclasses.field(default_factory=list)
    empty: list[str] = dataclasses.field(default_factory=list)
    stray: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    def notes(self) -> list[str]:
        """Returns remarks about omissions, a line each."""
        notes = []
        if self.empty:
            notes.append(f"{len(self.empty)} images have no annotation, so no label: {_listed(self.empty, ', ')}")
        if self.stray:
            what = "shapes without area are left out, as stray clicks make them"
            notes.append(f"{len(self.stray)} {what}: {_listed(self.stray, '; ')}")
        return notes


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
    readings = _readings(existing.values(), label_format)
    names_of_values = {value: name for name, value in values.items()}
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
            drawn = _draw(image, shapes, found, values, rest, by_area or not export.ordered, result.problems)
            if drawn is None:
                continue
            path, label = existing.get((found.clip, found.stem), source / found.label), drawn.label
            result.stray += drawn.stray
            if len(drawn.stray) == len(shapes):
                result.empty.append(image.name)
            elif not np.isin(label, [values[name] for name in classes.names]).any():
                result.problems.append(f"{image.where}: its shapes cover no pixel of any class; annotate or remove it")
            else:
                same = path.exists() and _holds(path, label, label_format, readings.get(str(path)))
                _add_label(result, path, _encode(label, names_of_values), same, overwrite)
                result.pixels += np.bincount(label.ravel(), minlength=256)[[values[name] for name in classes.names]]
                result.total += label.size
    if result.stray and not result.total and not result.problems:
        result.problems.append(f"nothing to import: its shapes cover no pixel of any class, e.g. {result.stray[0]}")
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
) -> Painting | None:
    """Returns the drawn shapes of one image; None if it has problems, which are added to `problems`."""
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
    drawn = paint(shapes, (height, width), values, background, by_area)
    problems += dict.fromkeys(drawn.problems)  # each class in a broken file reports the same
    return None if drawn.problems else drawn


def _readings(paths: Iterable[pathlib.Path], labels: LabelFormat) -> dict[str, str]:
    """Returns how existing label files are read; without those that could be read in several ways."""
    try:
        return choose_readings(map(str, paths), labels)
    except SourceError:
        return {}


def _holds(path: pathlib.Path, label: np.ndarray, labels: LabelFormat, reading: str | None) -> bool:
    """Whether an existing label file means the same as values [H, W]."""
    if reading is None:
        return False
    try:
        return np.array_equal(decode_label(*read_symbols(path), labels, reading), labels.decode(label))
    except (UserError, ValueError):
        return False


def _encode(label: np.ndarray, names: Mapping[int, str]) -> bytes:
    """Returns values [H, W] as PNG that names their classes, so that nobody has to guess what they are."""
    notes, stream = PngInfo(), io.BytesIO()
    notes.add_text(CLASSES_KEY, class_text({int(value): names[value] for value in np.unique(label).tolist()}))
    Image.fromarray(label).save(stream, "PNG", pnginfo=notes)
    return stream.getvalue()


def _add_label(result: Labels, path: pathlib.Path, content: bytes, same: bool, overwrite: bool) -> None:
    """Adds a label to the files to write, unless its file exists."""
    if same:
        result.unchanged.append(path)
    elif path.exists() and not overwrite:
        result.problems.append(f"{path} exists and differs; use --overwrite to replace it")
    else:
        result.files[path] = content


def _listed(texts: Sequence[str], separator: str) -> str:
    return separator.join(texts[:_EXAMPLES]) + (f"{separator}…" if len(texts) > _EXAMPLES else "")
