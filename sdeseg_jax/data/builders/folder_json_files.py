"""Reads the files that describe own data (see `folder.Folder`): classes.json, camera.json, validation.txt."""

import colorsys
import pathlib
import reprlib
from collections.abc import Callable, Collection

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data.builders.camera_intrinsics import Camera, check_camera
from sdeseg_jax.data.builders.scanned_clips import LabelFormat
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import VOID, ClassMap
from sdeseg_jax.storage.json_files import MAX_JSON, read_json

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
one, or its "color". Pixels with a value in "void" (always 255), or of a "void_color", have no class."""

CAMERA_EXAMPLE = """
    {"field_of_view": 65}
The horizontal field of view in degrees. Typical: phone 65 (upright 40), dashcam 100-120, action camera 120 (90 in
"linear" mode), webcam 65. Or, for a calibrated camera, in pixels of an image of the given size:
    {"fx": 1400.0, "fy": 1400.0, "cx": 959.5, "cy": 539.5, "width": 1920, "height": 1080}"""

_PIXELS = ("fx", "fy", "cx", "cy", "width", "height")
_VOID_COLORS = ("void_color", "void_colors")


def read_classes(path: pathlib.Path, name: str) -> tuple[ClassMap, LabelFormat]:
    """Reads classes.json.

    Args:
      name: of the dataset; the protocol is called `<name>-<number of classes>`.

    Returns:
      The classes, and how label files are read: always by value, also by colour if colours are given.

    Raises:
      SourceError: the file is damaged, or a name, id or colour is invalid or used twice.
    """
    content = _read_object(path, ("classes", "void", *_VOID_COLORS), CLASSES_EXAMPLE)
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
        _check_keys(entry, ("name", "id", "color"), f"{path}: class {train_id}")
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
    return ClassMap(f"{name}-{len(entries)}", tuple(names), tuple(palette)), LabelFormat(values, colors or None)


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


def read_camera(path: pathlib.Path, image_size: Callable[[], tuple[int, int]]) -> Camera:
    """Reads camera.json.

    Args:
      image_size: function that returns (width, height) of the images; called for a field of view only.

    Raises:
      SourceError: the file is damaged, or its values are implausible.
    """
    content = _read_object(path, (*_PIXELS, "field_of_view"), CAMERA_EXAMPLE)
    for key, value in content.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e9:
            raise SourceError(f"{path}: '{key}' should be a number, not {reprlib.repr(value)}")
    if "field_of_view" in content:
        if len(content) > 1:
            raise SourceError(f"{path}: should have either 'field_of_view' or {', '.join(_PIXELS)}, not both")
        degrees = content["field_of_view"]
        if not 5 <= degrees <= 160:
            raise SourceError(f"{path}: 'field_of_view' should be 5 to 160 degrees, not {degrees:g}")
        width, height = image_size()
        camera = Camera.from_field_of_view(degrees, width / height)
        # In pixels, so that images of another aspect ratio, for which it would be wrong, are noticed.
        camera = Camera(camera.fx * width, camera.fy * height, width / 2 - 0.5, height / 2 - 0.5, width, height)
        return check_camera(camera, f"{path} (field of view {degrees:g})")
    missing = [key for key in _PIXELS if key not in content]
    if missing:
        raise SourceError(f"{path}: has no {', '.join(missing)}. It should look like this:{CAMERA_EXAMPLE}")
    if content["width"] % 1 or content["height"] % 1:
        raise SourceError(f"{path}: width and height should be whole numbers of pixels")
    values = [float(content[key]) for key in _PIXELS[:4]]
    return check_camera(Camera(*values, int(content["width"]), int(content["height"])), str(path))


def read_names(path: pathlib.Path, known: Collection[str]) -> set[str]:
    """Reads validation.txt: names of clips and images, one per line; # begins a comment.

    Raises:
      SourceError: a name is not one of `known`.
    """
    if not path.exists():
        return set()
    lines = (line.split("#")[0].strip() for line in _read_text(path).splitlines())
    names = {line for line in lines if line}
    for name in sorted(names - set(known)):
        raise SourceError(f"{path}: clip or image '{name}' does not exist{nearest(name, known)}")
    return names


def _read_text(path: pathlib.Path) -> str:
    try:
        if path.stat().st_size > MAX_JSON:
            raise ValueError("it is far too large")
        return path.read_text(encoding="utf-8-sig")  # editors on Windows begin files with a byte order mark
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({error})") from error


def _read_object(path: pathlib.Path, keys: Collection[str], example: str) -> dict:
    try:
        content = read_json(path)
    except ValueError as error:
        raise SourceError(f"{path}: {error}. It should look like this:{example}") from error
    if not isinstance(content, dict):
        raise SourceError(f"{path}: should look like this:{example}")
    _check_keys(content, keys, str(path))
    return content


def _check_keys(content: dict, keys: Collection[str], where: str) -> None:
    for key in content:
        if key not in keys:
            raise SourceError(f"{where}: unknown key '{key}'{nearest(key, keys)}")
