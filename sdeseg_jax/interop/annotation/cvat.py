"""CVAT: labels to import there, and its export "Segmentation mask 1.1"."""

import functools
import pathlib
import re
from collections.abc import Sequence

from sdeseg_jax.interop.annotation.shapes_to_mask import AnnotatedImage, Shape, hex_color, read_symbols

LABELMAP, MASKS = "labelmap.txt", "SegmentationClass"
BACKGROUND = "background"
"""CVAT's name for pixels without annotation, unless the project has a label of this name."""


def raw_labels(labels: Sequence[tuple[str, tuple[int, int, int]]]) -> list[dict]:
    """Returns labels (name, (R, G, B)) for the "Raw" tab of CVAT's label constructor and for `cvat-cli --labels`."""
    return [{"name": name, "color": hex_color(color), "type": "any", "attributes": []} for name, color in labels]


def read_labelmap(path: pathlib.Path) -> dict[tuple[int, int, int], str]:
    """Returns colour -> label from labelmap.txt: a line `name:r,g,b:parts:actions` per label; # begins a comment.

    Raises:
      ValueError: a line is malformed, or two labels share a colour.
    """
    labels: dict[tuple[int, int, int], str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(.+):(\d{1,3}),(\d{1,3}),(\d{1,3}):[^:]*:[^:]*", line.strip())
        if not match:
            raise ValueError(f"{path}, line {number}: expected e.g. 'road:128,64,128::', not '{line[:80]}'")
        color = tuple(int(one) for one in match.groups()[1:])
        if color in labels:
            raise ValueError(
                f"{path}: '{labels[color]}' and '{match[1]}' have the same colour, {color}. Change one of them in CVAT "
                "and export again"
            )
        labels[color] = match[1]
    return labels


def read_masks(folder: pathlib.Path, classes: Sequence[str]) -> list[AnnotatedImage]:
    """Reads the export "Segmentation mask 1.1", a folder with `labelmap.txt` and `SegmentationClass/`.

    Raises:
      ValueError: labelmap.txt is not valid, or there are no masks.
    """
    labels, masks = read_labelmap(folder / LABELMAP), folder / MASKS
    files = sorted(path for path in masks.rglob("*.png") if not path.name.startswith("."))
    if not files:
        raise ValueError(f'{masks} has no PNG files; export "Segmentation mask 1.1" from CVAT again')
    ignored = () if BACKGROUND in classes else (BACKGROUND,)

    def shapes(path: pathlib.Path) -> list[Shape]:
        symbols, places = read_symbols(path)
        if (symbols.alpha < 255).any():
            raise ValueError("is transparent in places; save it without transparency")
        found = []
        for place, color in enumerate(map(tuple, symbols.colors.tolist())):
            if color not in labels:
                raise ValueError(f"has the colour {color}, which {LABELMAP} does not list")
            if labels[color] not in ignored:
                found.append(Shape(labels[color], lambda size, place=place: places == place, str(path)))
        return found

    return [
        AnnotatedImage(path.relative_to(masks).as_posix(), None, functools.partial(shapes, path), str(path))
        for path in files
    ]
