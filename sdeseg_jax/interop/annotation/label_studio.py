"""Label Studio: tasks and labels to import there, and its exports "JSON" and "Brush labels to PNG".

The JSON export has brush masks, polygons, and their order. The PNG export has only brush masks, one file each, named by
the task's number in Label Studio's database; a JSON (or JSON-MIN) export tells which image that is. The export "COCO"
leaves out brush masks; "Brush labels to COCO" turns them into outlines and loses their order relative to polygons.
"""

import functools
import pathlib
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from sdeseg_jax.data.builders.annotation_file_names import image_file
from sdeseg_jax.data.builders.scanned_clips import IMAGE_SUFFIXES
from sdeseg_jax.interop.annotation.shapes_to_mask import (
    VOID_NAME,
    AnnotatedImage,
    Shape,
    StrayShapeError,
    brush_mask,
    hex_color,
    polygon_mask,
    polygon_points,
    read_symbols,
)

PNG_NAME = re.compile(r"task-(\d+)-annotation-(\d+)-by-([^-]*)-(.+)-(\d+)")
"""An exported brush mask: task, annotation, annotator, `<name of the control>-<class>`, number within the class."""

_WITHOUT_AREA = ("keypoint", "keypointlabels", "choices", "textarea", "rating", "number", "taxonomy", "relation")
_UNLABELLED = ("brush", "polygon")
"""Region types whose class is in a second entry with the same id if the labels are a separate control."""


def labeling_config(labels: Sequence[tuple[str, tuple[int, int, int]]]) -> str:
    """Returns the XML of a labelling interface with brush and polygons, for labels (name, (R, G, B))."""
    rows = "".join(f"    <Label value={quoteattr(name)} background={quoteattr(hex_color(c))}/>\n" for name, c in labels)
    controls = "".join(
        f'  <{tag} name="{name}" toName="image">\n{rows}  </{tag}>\n'
        for tag, name in (("BrushLabels", "brush"), ("PolygonLabels", "polygon"))
    )
    return f'<View>\n  <Image name="image" value="$image" zoom="true" zoomControl="true"/>\n{controls}</View>\n'


def tasks(names: Sequence[str], prefix: str) -> list[dict]:
    """Returns tasks to import: image files at the address prefix + name."""
    return [{"data": {"image": prefix + quote(name)}} for name in names]


def read_tasks(content: list, where: str, notes: list[str]) -> list[AnnotatedImage]:
    """Reads the parsed JSON export of a file `where`; appends remarks about omissions to `notes`.

    If a task has several annotations, the ground truth is used, or else the newest.

    Raises:
      ValueError: the content is not a valid export.
    """
    images, ignored, several = [], defaultdict(int), 0
    for entry in content:
        annotations = entry.get("annotations") if isinstance(entry, dict) else None
        if not _are_objects(annotations):
            raise ValueError(f"{where}: tasks lack 'annotations'; export \"JSON\" from Label Studio, not JSON-MIN")
        done = [one for one in annotations if not one.get("was_cancelled")]
        done.sort(key=lambda one: (bool(one.get("ground_truth")), _number(one.get("id"))))
        several += len(done) > 1
        name, results = task_image(entry, where), done[-1].get("result") if done else []
        if not _are_objects(results):
            raise ValueError(f"{where}: the annotation of {name} should have a list 'result'")
        labelled = {str(one.get("id")) for one in results if one.get("type") not in _UNLABELLED}
        shapes, size = [], None
        for place, region in enumerate(results, 1):
            kind = str(region.get("type"))
            if kind in _WITHOUT_AREA:
                ignored[kind] += 1
            elif kind not in _UNLABELLED or str(region.get("id")) not in labelled:
                shapes.append(_region(region, f"{name}: region {place} ({kind})"))
                size = size or _size(region)
        images.append(AnnotatedImage(name, size, functools.partial(list, shapes), f"{where}, {name}"))
    if several:
        notes.append(f"{several} tasks have several annotations; used the ground truth, or else the newest, of each")
    notes += [f"left out {number} entries of type {kind}, which have no area" for kind, number in ignored.items()]
    return images


def task_image(entry: dict, where: str) -> str:
    """Returns the image file of a task in a JSON or JSON-MIN export.

    Raises:
      ValueError: the task has no image file, or several.
    """
    data = entry.get("data", entry)
    data = data if isinstance(data, dict) else {}
    texts = [value for value in data.values() if isinstance(value, str)]
    files = [text for text in texts if image_file(text).lower().endswith(IMAGE_SUFFIXES)]
    if isinstance(data.get("image"), str):
        files = [data["image"]]
    if len(files) != 1:
        raise ValueError(f"{where}: task {entry.get('id')} should name one image file, not {len(files)}")
    return files[0]


def read_brush_pngs(
    files: Sequence[pathlib.Path], content: Any, where: str, classes: Collection[str], notes: list[str]
) -> list[AnnotatedImage]:
    """Reads the PNG export. If a task has several annotations, the newest is used.

    Args:
      files: the masks.
      content: parsed JSON or JSON-MIN export of the same project, which tells the image of each task.
      where: the file of `content`, for messages.
      classes: class names.
      notes: remarks about omissions are appended to it.

    Raises:
      ValueError: a task's image is unknown.
    """
    if not _are_objects(content):
        raise ValueError(f'{where} is not a list of tasks; export "JSON" or "JSON-MIN" from Label Studio')
    names = {_number(entry.get("id")): task_image(entry, where) for entry in content}
    by_task: dict[int, dict[int, list]] = defaultdict(lambda: defaultdict(list))
    for path in files:
        if match := PNG_NAME.fullmatch(path.stem):
            by_task[int(match[1])][int(match[2])].append((path, _class_of(match[4], classes)))
    if lost := [number for number in by_task if number not in names]:
        file = next(iter(by_task[lost[0]].values()))[0][0]
        raise ValueError(f"{where} has no task {', '.join(map(str, lost))} of {file.name}; export both again")
    if several := sum(len(annotations) > 1 for annotations in by_task.values()):
        notes.append(f"{several} tasks have several annotations; used the newest of each")

    def image(number: int) -> AnnotatedImage:
        masks = by_task[number][max(by_task[number])]
        shapes = [Shape(name, functools.partial(_read_mask, path), path.name) for path, name in masks]
        return AnnotatedImage(names[number], None, lambda: shapes, f"task {number}, {names[number]}")

    return [image(number) for number in sorted(by_task)]


def _class_of(rest: str, classes: Collection[str]) -> str:
    """Returns the class of `<control>-<class>`; both may contain "-", and Label Studio replaces slashes by "-"."""
    written = {name: "-" + re.sub(r"[/\\]", "-", name) for name in (*classes, VOID_NAME)}
    ends = [name for name, end in written.items() if rest.endswith(end)]
    return max(ends, key=len) if ends else rest.partition("-")[2] or rest


def _read_mask(path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
    del size  # checked by the caller
    symbols, places = read_symbols(path)
    levels = symbols.colors.max(1)
    if levels.min() < 0 or 0 < levels.max() < 128:
        raise ValueError(f"holds values up to {symbols.values.max()}, where brush masks have 0 and 255")
    return (levels >= 128)[places]


def _region(region: dict, where: str) -> Shape:
    value, kind = region.get("value"), str(region.get("type"))
    value = value if isinstance(value, dict) else {}
    names = value.get(kind) if isinstance(value.get(kind), list) else []

    def draw(size: tuple[int, int]) -> np.ndarray:
        height, width = size
        if region.get("image_rotation"):
            raise ValueError("was drawn on an image that was rotated in Label Studio; rotate it back there")
        if value.get("rle") == [] or value.get("points") == []:
            raise StrayShapeError("is empty")
        if isinstance(value.get("rle"), list):
            return brush_mask(value["rle"], size)
        if not isinstance(value.get("points"), list):
            raise ValueError("is neither a brush mask nor a polygon")
        return polygon_mask(polygon_points(value["points"]) * (width / 100, height / 100), size)  # they are in percent

    return Shape(", ".join(map(str, names)), draw, where)


def _size(region: dict) -> tuple[int, int] | None:
    size = region.get("original_width"), region.get("original_height")
    return size if all(isinstance(side, int) for side in size) else None


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _number(value: Any) -> int:
    return value if isinstance(value, int) else -1
