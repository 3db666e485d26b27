"""Instance annotations in COCO's JSON format, as CVAT ("COCO 1.0") and others export them."""

import functools
from collections import defaultdict
from typing import Any

import numpy as np

from sdeseg_jax.interop.annotation.shapes_to_mask import (
    AnnotatedImage,
    Shape,
    StrayShapeError,
    counts_from_string,
    polygon_mask,
    polygon_points,
    rle_mask,
)


def read_coco(content: dict, where: str) -> list[AnnotatedImage]:
    """Returns the images of a parsed file, with their shapes in the order of the file, which is the drawing order.

    CVAT sorts its export by z-order (but puts grouped shapes last), Label Studio lists later polygons later. `iscrowd`
    is ignored: it marks a shape of several objects, which share a class, or in CVAT a shape drawn with the brush.
    Messages begin with `where`.

    Raises:
      ValueError: the content is not valid COCO.
    """
    lists = {key: content.get(key) for key in ("images", "annotations", "categories")}
    for key, entries in lists.items():
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise ValueError(f"{where}: should have a list '{key}' of objects, as COCO's instance annotations do")
    categories = {_key(one.get("id")): one.get("name") for one in lists["categories"]}
    shapes = defaultdict(list)
    known = {_key(one.get("id")) for one in lists["images"]}
    for place, one in enumerate(lists["annotations"], 1):
        name, image = categories.get(_key(one.get("category_id"))), _key(one.get("image_id"))
        here = f"annotation {one.get('id', place)}"
        if not isinstance(name, str):
            raise ValueError(f"{where}: {here} has category {one.get('category_id')}, which is not listed")
        if image not in known:
            raise ValueError(f"{where}: {here} belongs to image {one.get('image_id')}, which is not listed")
        shapes[image].append((name, one, here))
    images = []
    for one in lists["images"]:
        name, size = one.get("file_name"), (one.get("width"), one.get("height"))
        if not isinstance(name, str) or not name:
            raise ValueError(f"{where}: image {one.get('id')} should have a 'file_name'")
        own = [
            Shape(label, functools.partial(_draw, annotation), f"{name}: {here}")
            for label, annotation, here in shapes[_key(one.get("id"))]
        ]
        size = size if all(isinstance(side, int) for side in size) else None
        images.append(AnnotatedImage(name, size, functools.partial(list, own), f"{where}, {name}"))
    return images


def _key(value: Any) -> str:
    """Returns a hashable key for an id of any type."""
    return repr(value)


def _draw(annotation: dict, size: tuple[int, int]) -> np.ndarray:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        stated, counts = segmentation.get("size"), segmentation.get("counts")
        if stated != list(size):
            raise ValueError(f"has an RLE of height and width {stated}, but the image has {list(size)}")
        if isinstance(counts, str):
            counts = counts_from_string(counts)
        if not isinstance(counts, list):
            raise ValueError("has an RLE without 'counts'")
        return rle_mask(counts, size)
    if not segmentation and _is_empty_box(annotation):
        raise StrayShapeError("has neither an outline nor a box with area")
    if not segmentation:
        raise ValueError("is a box without an outline; draw a polygon or a mask")
    if not isinstance(segmentation, list):
        raise ValueError("has no valid outline: expected a list of lists x1, y1, x2, y2, …")
    mask, stray = np.zeros(size, bool), None
    for outline in segmentation:
        try:
            mask |= polygon_mask(polygon_points(outline), size)
        except StrayShapeError as error:
            stray = error
    if stray and not mask.any():
        raise stray
    return mask


def _is_empty_box(annotation: dict) -> bool:
    """Whether the annotation says that it has no area."""
    box = annotation.get("bbox")
    sides = box[2:] if isinstance(box, list) and len(box) == 4 else []
    return annotation.get("area") == 0 or any(side == 0 for side in sides)
