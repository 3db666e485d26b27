"""Camera intrinsics as datasets state them, and a check that recognises wrong units by the values."""

import dataclasses
import math

import numpy as np

from sdeseg_jax.data.builders.source_errors import SourceError


@dataclasses.dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics.

    Attributes:
      fx, fy, cx, cy: in pixels of an image of `width` x `height`, pixel centres at integer coordinates.
      width, height: 0 for relative units: fx, cx in image widths, fy, cy in image heights, from the left and upper edge
        of the image, so that 0.5 is the middle.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int = 0
    height: int = 0

    @classmethod
    def from_field_of_view(cls, degrees: float, aspect: float) -> "Camera":
        """Returns relative intrinsics with square pixels from the horizontal field of view and the aspect ratio."""
        fx = 0.5 / math.tan(math.radians(degrees) / 2)
        return cls(fx, fx * aspect, 0.5, 0.5)

    def matrix(self, image_size: tuple[int, int], stored_size: tuple[int, int]) -> np.ndarray:
        """Returns intrinsics [3, 3] float32 in pixels of the stored image.

        Args:
          image_size: (width, height) of the image file.
          stored_size: (width, height) after resizing.

        Raises:
          SourceError: the image's aspect ratio differs from that of the intrinsics.
        """
        if self.width:
            if abs(self.width * image_size[1] / (self.height * image_size[0]) - 1) > 0.02:
                raise SourceError(
                    f"the intrinsics are for images of {self.width}x{self.height}; this one is "
                    f"{image_size[0]}x{image_size[1]}, of another aspect ratio"
                )
            sx, sy = stored_size[0] / self.width, stored_size[1] / self.height
            cx, cy = (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        else:
            sx, sy = stored_size
            cx, cy = self.cx * sx - 0.5, self.cy * sy - 0.5
        return np.array([[self.fx * sx, 0, cx], [0, self.fy * sy, cy], [0, 0, 1]], np.float32)


def check_camera(camera: Camera, where: str) -> Camera:
    """Returns a camera in pixels if its values are plausible for its image size; `where` is its file, for messages.

    Raises:
      SourceError: values are not finite, normalised, for another image size, or imply an absurd field of view.
    """
    values = (camera.fx, camera.fy, camera.cx, camera.cy)
    stated = f"fx={camera.fx:g} fy={camera.fy:g} cx={camera.cx:g} cy={camera.cy:g}"
    size = f"{camera.width}x{camera.height}"
    if not all(math.isfinite(v) for v in values) or min(camera.fx, camera.fy) <= 0:
        raise SourceError(f"{where}: {stated}: focal lengths should be positive numbers")
    if camera.width <= 0 or camera.height <= 0:
        raise SourceError(f"{where}: the image size {size} should be positive")
    if max(camera.fx, camera.fy) < 20 and max(abs(camera.cx), abs(camera.cy)) <= 2:
        raise SourceError(
            f"{where}: {stated} look normalised (divided by the image size); they should be in pixels of the "
            f"{size} image, e.g. fx={camera.fx * camera.width:.1f} fy={camera.fy * camera.height:.1f} "
            f"cx={camera.cx * camera.width:.1f} cy={camera.cy * camera.height:.1f}"
        )
    offsets = abs(camera.cx / camera.width - 0.5), abs(camera.cy / camera.height - 0.5)
    # A crop shifts it along one side. A shift along both means another image size; half the size shifts it by 0.25.
    if max(offsets) > 0.25 or min(offsets) > 0.2:
        raise SourceError(
            f"{where}: {stated}: the principal point is far from the middle of the {size} image; these intrinsics "
            f"look as if they were for an image of about {2 * camera.cx:.0f}x{2 * camera.cy:.0f}"
        )
    for name, focal, side in (("horizontal", camera.fx, camera.width), ("vertical", camera.fy, camera.height)):
        degrees = 2 * math.degrees(math.atan(side / (2 * focal)))
        if not 5 < degrees < 160:
            raise SourceError(
                f"{where}: {stated} give the {size} image a {name} field of view of {degrees:.1f} degrees; "
                "they seem to be for another image size, or not in pixels"
            )
    return camera
