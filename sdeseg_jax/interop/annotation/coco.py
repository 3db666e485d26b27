"""Instance annotations in COCO's JSON, as CVAT ("COCO 1.0") and others export them."""

import functools
from collections import defaultdict
from typing import Any

import numpy as np

from sdeseg_jax.interop.annotation.shapes_to_mask import (
    AnnotatedImage,
    Shape,
    counts_from_string,
    polygon_mask,
    polygon_points,
    rle_mask,
)


def read_coco(content: dict, where: str) -> list[AnnotatedImage]:
    """Images with their shapes in the order of the file.

    That order is the right one for drawing: CVAT sorts what it exports by z-order (but puts what was grouped last),
    Label Studio lists later polygons later. `iscrowd` does not matter here: it says that a shape is of several objects,
    which are of one class all the same, or, with CVAT, that it was drawn with the brush.

    Args:
      content: of the file.
      where: the file, for messages.

    Raises:
      ValueError: it is none.
    """
    lists = {key: content.get(key) for key in ("images", "annotations", "categories")}
    for key, entries in lists.items():
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise ValueError(f"{where}: should have a list '{key}', as COCO's annotations of instances do")
    categories = {_key(one.get("id")): one.get("name") for one in lists["categories"]}
    shapes = defaultdict(list)
    known = {_key(one.get("id")) for one in lists["images"]}
    for place, one in enumerate(lists["annotations"], 1):
        name, image = categories.get(_key(one.get("category_id"))), _key(one.get("image_id"))
        here = f"annotation {one.get('id', place)}"
        if not isinstance(name, str):
            raise ValueError(f"{where}: {here} is of category {one.get('category_id')}, which is not listed")
        if image not in known:
            raise ValueError(f"{where}: {here} is of image {one.get('image_id')}, which is not listed")
        shapes[image].append((name, one.get("segmentation"), here))
    images = []
    for one in lists["images"]:
        name, size = one.get("file_name"), (one.get("width"), one.get("height"))
        if not isinstance(name, str) or not name:
            raise ValueError(f"{where}: image {one.get('id')} should have a 'file_name'")
        own = [
            Shape(label, functools.partial(_draw, outline), f"{name}: {here}")
            for label, outline, here in shapes[_key(one.get("id"))]
        ]
        size = size if all(isinstance(side, int) for side in size) else None
        images.append(AnnotatedImage(name, size, functools.partial(list, own), f"{where}, {name}"))
    return images


def _key(value: Any) -> str:
    """An id as key, of whatever type it is."""
    return repr(value)


def _draw(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, dict):
        stated, counts = segmentation.get("size"), segmentation.get("counts")
        if stated != list(size):
            raise ValueError(f"has an RLE of height and width {stated}, but the image's are {list(size)}")
        if isinstance(counts, str):
            counts = counts_from_string(counts)
        if not isinstance(counts, list):
            raise ValueError("has an RLE without 'counts'")
        return rle_mask(counts, size)
    if not segmentation:
        raise ValueError("is a box without an outline; draw a polygon or a mask")
    if not isinstance(segmentation, list):
        raise ValueError("has an outline that is none: a list of lists x1, y1, x2, y2, … is expected")
    mask = np.zeros(size, bool)
    for outline in segmentation:
        mask |= polygon_mask(polygon_points(outline), size)
    return mask
