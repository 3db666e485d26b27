"""Reads exports of annotation tools, recognised by their content, as annotated images."""

import dataclasses
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np

from sdeseg_jax.data.builders.label_reading import choose_readings, decode_label
from sdeseg_jax.data.builders.scanned_clips import LabelFormat
from sdeseg_jax.data.classes import VOID
from sdeseg_jax.interop.annotation import cvat, label_studio
from sdeseg_jax.interop.annotation.coco import read_coco
from sdeseg_jax.interop.annotation.shapes_to_mask import AnnotatedImage, Shape, read_symbols
from sdeseg_jax.storage.json_files import read_json

LAYOUT = """
    a JSON file, or a folder with one: Label Studio's "JSON", or COCO's (CVAT's "COCO 1.0"), with polygons or RLE
    a folder with labelmap.txt and SegmentationClass/: CVAT's "Segmentation mask 1.1"
    a folder of task-1-annotation-1-by-1-….png: Label Studio's "Brush labels to PNG"; --tasks also names its "JSON"
    a folder of PNG files with the ids or colours of classes.json, each named like its image
"""

PNG_FILES = "PNG files"
"""`Export.kind` of label files that come from none of these tools."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Content of an export.

    Attributes:
      kind: of export, in words.
      images: annotated or not.
      notes: what the user should know, a line each.
      ordered: whether shapes are in drawing order.
    """

    kind: str
    images: list[AnnotatedImage]
    notes: list[str]
    ordered: bool = True


def read_export(path: pathlib.Path, tasks: pathlib.Path | None, classes: Sequence[str], labels: LabelFormat) -> Export:
    """Reads an export of any kind that `LAYOUT` lists.

    Args:
      path: file or folder.
      tasks: JSON export that tells the images of Label Studio's PNG files.
      classes: class names, in the order of their train ids.
      labels: format of the folder's own label files, for `PNG_FILES`.

    Raises:
      ValueError: the export is of another kind, or damaged.
      SourceError: PNG files could be read in several ways.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_file():
        if zipfile.is_zipfile(path):
            raise ValueError(f"{path} is a zip archive; unpack it and name the folder")
        return _read_json(path)
    inner = [one.parent for one in path.rglob(cvat.LABELMAP)]
    if len(inner) == 1:
        return Export("masks of CVAT", cvat.read_masks(inner[0], classes), [])
    pngs = sorted(one for one in path.rglob("*") if one.suffix.lower() == ".png" and not one.name.startswith("."))
    if brushes := [one for one in pngs if label_studio.PNG_NAME.fullmatch(one.stem)]:
        if tasks is None:
            raise ValueError(
                f'{path}: {brushes[0].name} does not tell which image it belongs to. Export "JSON" from Label Studio '
                "and import that instead (it has all masks, and their order), or name it with --tasks"
            )
        notes: list[str] = []
        images = label_studio.read_brush_pngs(brushes, _content(tasks), str(tasks), classes, notes)
        return Export("brush masks of Label Studio", images, notes, ordered=False)
    files = [one for one in path.rglob("*.json") if not one.name.startswith(".")]
    if len(files) == 1:
        return _read_json(files[0])
    if files:
        raise ValueError(f"{path} has {len(files)} JSON files; name one: {', '.join(one.name for one in files[:5])}")
    if pngs:
        readings = choose_readings(map(str, pngs), labels)
        images = [_label_file(path, one, classes, labels, readings.get(str(one), "")) for one in pngs]
        return Export(PNG_FILES, images, [])
    raise _no_annotations(path)


def _no_annotations(path: pathlib.Path) -> ValueError:
    return ValueError(f"{path} has no annotations. Expected one of:{LAYOUT}")


def _content(path: pathlib.Path):
    try:
        return read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def _read_json(path: pathlib.Path) -> Export:
    content, notes = _content(path), []
    if isinstance(content, list):
        return Export("tasks of Label Studio", label_studio.read_tasks(content, str(path), notes), notes)
    if isinstance(content, dict) and "annotations" in content:
        info = content.get("info")
        if isinstance(info, dict) and str(info.get("contributor")).startswith("Label Studio"):
            notes.append(
                'Label Studio\'s "COCO" lacks brush masks, and its "Brush labels to COCO" lacks their order; '
                'if you used the brush, export "JSON" instead'
            )
        return Export("annotations in COCO's format", read_coco(content, str(path)), notes)
    raise _no_annotations(path)


def _label_file(
    folder: pathlib.Path, path: pathlib.Path, classes: Sequence[str], labels: LabelFormat, reading: str
) -> AnnotatedImage:
    def shapes() -> list[Shape]:
        decoded = decode_label(*read_symbols(path), labels, reading)
        found = [int(one) for one in np.unique(decoded) if one != VOID]
        return [Shape(classes[one], lambda size, one=one: decoded == one, str(path)) for one in found]

    return AnnotatedImage(path.relative_to(folder).as_posix(), None, shapes, str(path))
