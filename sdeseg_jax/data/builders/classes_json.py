"""Reads classes.json, the classes of own data (see `folder.Folder`), and how label files hold them."""

import colorsys
import pathlib

from sdeseg_jax.data.builders.folder_description_files import check_keys, read_object
from sdeseg_jax.data.builders.label_reading import BY_COLOR, HOLDS
from sdeseg_jax.data.builders.scanned_clips import LabelFormat
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import VOID, ClassMap

MAX_CLASSES = 254


CLASSES_EXAMPLE = """
    {
      "classes": [
        {"name": "road", "color": [128, 64, 128]},
        {"name": "car", "color": [0, 0, 142]}
      ],
      "void": [255]
    }
The order is that of the network's classes. Label files hold a class's position in this list, or its "id" if it has
one, or its "color". Pixels with a value in "void" (always 255), or of a "void_color", have no class. Files that could
be read either way need "labels": "ids" or "labels": "colors"."""


_VOID_COLORS = ("void_color", "void_colors")


def read_classes(path: pathlib.Path, name: str) -> tuple[ClassMap, LabelFormat]:
    """Reads classes.json.

    Args:
      name: of the dataset; the protocol is called `<name>-<number of classes>`.

    Returns:
      The classes, and what label files may hold: values, and colours if they are given.

    Raises:
      SourceError: the file is damaged, or a name, id or colour is invalid or used twice.
    """
    content = read_object(path, ("classes", "void", "labels", *_VOID_COLORS), CLASSES_EXAMPLE)
    entries = content.get("classes")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SourceError(f"{path}: 'classes' should be a list of classes, e.g.{CLASSES_EXAMPLE}")
    if len(entries) > MAX_CLASSES:
        raise SourceError(f"{path}: {len(entries)} classes are too many; at most {MAX_CLASSES} are possible")
    names: dict[str, int] = {}
    values = {VOID: VOID}
    colors: dict[tuple[int, int, int], int] = {}
    palette = [_default_color(train_id) for train_id in range(len(entries))]

    def add(table: dict, key, train_id: int, what: str):
        if key in table:
            always = " (255 is always void)" if key == VOID else ""
            raise SourceError(f"{path}: the {what} {key!r} is used twice{always}; each class needs its own")
        table[key] = train_id

    for train_id, entry in enumerate(entries):
        check_keys(entry, ("name", "id", "color"), f"{path}: class {train_id}")
        label = entry.get("name")
        if not isinstance(label, str) or not label.strip():
            raise SourceError(f'{path}: class {train_id} needs a name, e.g. {{"name": "road"}}')
        add(names, label, train_id, "name")
        add(values, _byte(entry.get("id", train_id), f"{path}: the id of class '{label}'"), train_id, "id")
        if "color" in entry:
            palette[train_id] = _color(entry["color"], f"{path}: the color of class '{label}'")
            add(colors, palette[train_id], train_id, "color")
    void = content.get("void", [])
    if not isinstance(void, list):
        raise SourceError(f"{path}: 'void' should be a list of values, e.g. [0, 255]")
    for value in {_byte(one, f"{path}: a value in 'void'") for one in void} - {VOID}:
        add(values, value, VOID, "id")
    for color in {color for key in _VOID_COLORS for color in _void_colors(content.get(key, []), f"{path}: '{key}'")}:
        add(colors, color, VOID, "color")
    holds = content.get("labels", "")
    if holds not in ("", *HOLDS):
        raise SourceError(f'{path}: \'labels\' says what label files hold, "ids" or "colors", not {holds!r}')
    if holds == BY_COLOR and not colors:
        raise SourceError(f"{path}: 'labels' says that label files hold colours, but no class has a 'color'")
    own = {color: train_id for train_id, color in enumerate(palette) if color not in colors}
    labels = LabelFormat(values, colors or None, own_colors=own, names=tuple(names), holds=holds)
    return ClassMap(f"{name}-{len(entries)}", tuple(names), tuple(palette)), labels


def _default_color(train_id: int) -> tuple[int, int, int]:
    """Returns a colour for a class without one; hues by the golden ratio, so that any few of them are far apart."""
    hue, saturation, brightness = train_id * 0.618034 % 1, (0.9, 0.5)[train_id // 3 % 2], (1.0, 0.75, 0.5)[train_id % 3]
    return tuple(round(255 * one) for one in colorsys.hsv_to_rgb(hue, saturation, brightness))


def _byte(value, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:
        raise SourceError(f"{where} should be a whole number from 0 to 255, not {value!r}")
    return value


def _color(value, where: str) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise SourceError(f"{where} should be three numbers [red, green, blue], not {value!r}")
    return tuple(_byte(one, where) for one in value)


def _void_colors(value, where: str) -> list[tuple[int, int, int]]:
    """Returns the colours of one colour or a list of colours."""
    several = isinstance(value, list) and all(isinstance(one, list) for one in value)
    return [_color(one, where) for one in (value if several else [value])]
