"""Reads camera.json, the intrinsics of own data (see `folder.Folder`)."""

import pathlib
import reprlib
from collections.abc import Callable

from sdeseg_jax.data.builders.camera_intrinsics import Camera, check_camera
from sdeseg_jax.data.builders.folder_description_files import read_object
from sdeseg_jax.data.builders.source_errors import SourceError

CAMERA_EXAMPLE = """
    {"field_of_view": 65}
The horizontal field of view in degrees. Typical: phone 65 (upright 40), dashcam 100-120, action camera 120 (90 in
"linear" mode), webcam 65. Or, for a calibrated camera, in pixels of an image of the given size:
    {"fx": 1400.0, "fy": 1400.0, "cx": 959.5, "cy": 539.5, "width": 1920, "height": 1080}"""


_PIXELS = ("fx", "fy", "cx", "cy", "width", "height")


def read_camera(path: pathlib.Path, image_size: Callable[[], tuple[int, int]], aspect: float | None = None) -> Camera:
    """Reads camera.json.

    Args:
      image_size: function that returns (width, height) of the images; called for a field of view only.
      aspect: width / height of the picture, if it is not exactly that of `image_size`, for which it was rounded.

    Raises:
      SourceError: the file is damaged, or its values are implausible.
    """
    content = read_object(path, (*_PIXELS, "field_of_view"), CAMERA_EXAMPLE)
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
        camera = Camera.from_field_of_view(degrees, aspect or width / height)
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
