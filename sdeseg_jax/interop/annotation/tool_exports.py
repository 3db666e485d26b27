"""What annotation tools export, recognised by what it holds -> annotated images."""

import dataclasses
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np

from sdeseg_jax.data.builders.scanned_clips import LabelFormat
from sdeseg_jax.data.classes import VOID
from sdeseg_jax.interop.annotation import cvat, label_studio
from sdeseg_jax.interop.annotation.coco import read_coco
from sdeseg_jax.interop.annotation.shapes_to_mask import AnnotatedImage, Shape, read_pixels
from sdeseg_jax.storage.json_files import read_json

LAYOUT = """
    a JSON file, or a folder with one: Label Studio's "JSON", or COCO's (CVAT's "COCO 1.0"), with polygons or RLE
    a folder with labelmap.txt and SegmentationClass/: CVAT's "Segmentation mask 1.1"
    a folder of task-1-annotation-1-by-1-….png: Label Studio's "Brush labels to PNG"; --tasks names its "JSON" besides
    a folder of PNG files that hold ids or colours as classes.json states them, each named as its image
"""

PNG_FILES = "PNG files"
"""Kind of an export that is of no tool: label files."""


@dataclasses.dataclass(frozen=True)
class Export:
    """What was found.

    Attributes:
      kind: of export, for people.
      images: annotated or not.
      notes: what was odd.
      ordered: whether shapes are in the order of drawing.
    """

    kind: str
    images: list[AnnotatedImage]
    notes: list[str]
    ordered: bool = True


def read_export(path: pathlib.Path, tasks: pathlib.Path | None, classes: Sequence[str], labels: LabelFormat) -> Export:
    """Reads an export of any kind that `LAYOUT` lists.

    Args:
      path: file or folder.
      tasks: JSON export that says what images Label Studio's PNG files are of.
      classes: names of the classes, in the order of their train ids.
      labels: how the folder's own label files are read, for PNG files of no tool.

    Raises:
      ValueError: it is none of these, or broken.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_file():
        if zipfile.is_zipfile(path):
            raise ValueError(f"{path} is packed; unpack it and name the folder")
        return _read_json(path)
    inner = [one.parent for one in path.rglob(cvat.LABELMAP)]
    if len(inner) == 1:
        return Export("masks of CVAT", cvat.read_masks(inner[0], classes), [])
    pngs = sorted(one for one in path.rglob("*") if one.suffix.lower() == ".png" and not one.name.startswith("."))
    if brushes := [one for one in pngs if label_studio.PNG_NAME.fullmatch(one.stem)]:
        if tasks is None:
            raise ValueError(
                f"{path}: {brushes[0].name} does not say which image it is of; export \"JSON\" from Label Studio, too, "
                "and name it with --tasks. That file has all masks, and their order: better import it alone"
            )  # fmt: skip
        notes: list[str] = []
        images = label_studio.read_brush_pngs(brushes, _content(tasks), str(tasks), classes, notes)
        return Export("brush masks of Label Studio", images, notes, ordered=False)
    files = [one for one in path.rglob("*.json") if not one.name.startswith(".")]
    if len(files) == 1:
        return _read_json(files[0])
    if files:
        raise ValueError(
            f"{path} holds {len(files)} JSON files; name one of them: {', '.join(f.name for f in files[:5])}"
        )
    if pngs:
        return Export(PNG_FILES, [_label_file(path, one, classes, labels) for one in pngs], [])
    raise ValueError(f"{path} holds no annotations. Expected is one of:{LAYOUT}")


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
                'Label Studio leaves brush masks out of "COCO", and their order out of "Brush labels to COCO"; '
                'if you used the brush, export "JSON" instead'
            )
        return Export("annotations of COCO's format", read_coco(content, str(path)), notes)
    raise ValueError(f"{path} holds no annotations. Expected is one of:{LAYOUT}")


def _label_file(
    folder: pathlib.Path, path: pathlib.Path, classes: Sequence[str], labels: LabelFormat
) -> AnnotatedImage:
    def shapes() -> list[Shape]:
        decoded = labels.decode(read_pixels(path))
        found = [int(one) for one in np.unique(decoded) if one != VOID]
        return [Shape(classes[one], lambda size, one=one: decoded == one, str(path)) for one in found]

    return AnnotatedImage(path.relative_to(folder).as_posix(), None, shapes, str(path))
