"""Intrinsics: units, resizing, and the values that cannot be right."""

import math

import numpy as np
import pytest

from sdeseg_jax.data.builders.camera_intrinsics import Camera, check_camera
from sdeseg_jax.data.builders.source_errors import SourceError

CITYSCAPES = (2262.52, 2265.30, 1096.98, 513.137)


def test_a_point_stays_on_what_it_shows():
    """Resampling takes a point u to (u + 0.5) s - 0.5, pixel centres at integers."""
    camera = Camera(*CITYSCAPES, 2048, 1024)
    x, y, z = 1.2, -0.4, 9.0
    u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    for width, height in ((1024, 512), (512, 256), (640, 192)):
        k = camera.matrix((2048, 1024), (width, height))
        assert k.dtype == np.float32
        pixel = k @ (x / z, y / z, 1)
        np.testing.assert_allclose(pixel[0], (u + 0.5) * width / 2048 - 0.5, rtol=1e-5)
        np.testing.assert_allclose(pixel[1], (v + 0.5) * height / 1024 - 0.5, rtol=1e-5)


def test_images_may_be_smaller_than_those_that_intrinsics_are_stated_for():
    camera = Camera(*CITYSCAPES, 2048, 1024)
    expected = camera.matrix((2048, 1024), (512, 256))
    np.testing.assert_array_equal(camera.matrix((1024, 512), (512, 256)), expected)
    with pytest.raises(SourceError, match="for images of 2048x1024; this one is 1024x768, of another aspect ratio"):
        camera.matrix((1024, 768), (512, 256))


def test_relative_intrinsics_hold_for_any_size():
    k = Camera(1.2, 2.1, 0.5, 0.5).matrix((1914, 1052), (640, 320))
    np.testing.assert_allclose(k, [[768, 0, 319.5], [0, 672, 159.5], [0, 0, 1]], rtol=1e-6)
    pixels = Camera(1.2 * 640, 2.1 * 320, 319.5, 159.5, 640, 320).matrix((640, 320), (160, 80))
    np.testing.assert_allclose(Camera(1.2, 2.1, 0.5, 0.5).matrix((640, 320), (160, 80)), pixels, rtol=1e-6)


def test_field_of_view():
    k = Camera.from_field_of_view(60, 4 / 3).matrix((480, 360), (480, 360))
    assert math.isclose(k[0, 0], k[1, 1], rel_tol=1e-6)  # square pixels
    np.testing.assert_allclose(2 * math.degrees(math.atan(240 / k[0, 0])), 60, rtol=1e-5)
    np.testing.assert_allclose(k[:2, 2], [239.5, 179.5])


@pytest.mark.parametrize(
    "camera",
    [
        Camera(*CITYSCAPES, 2048, 1024),
        Camera(718.856, 718.856, 607.1928, 185.2157, 1241, 376),
        Camera(532.740352, 532.740352, 639.5, 379.5, 1280, 760),
        Camera(*CITYSCAPES[:3], 513.137, 2048, 800),  # without the bonnet
    ],
)
def test_real_cameras_are_taken(camera):
    assert check_camera(camera, "camera.txt") is camera


@pytest.mark.parametrize(
    ("values", "size", "message"),
    [
        ((math.nan, 700, 600, 180), (1200, 360), "should be positive numbers"),
        ((700, 700, 600, math.inf), (1200, 360), "should be positive numbers"),
        ((700, -700, 600, 180), (1200, 360), "should be positive numbers"),
        ((700, 700, 600, 180), (0, 360), "image size 0x360 should be positive"),
        ((0.58, 1.92, 0.5, 0.5), (1200, 360), "look normalised .* e.g. fx=696.0 fy=691.2 cx=600.0 cy=180.0"),
        ((1.16, 2.1, 1, 1), (1200, 360), "look normalised"),
        ((350, 350, 300, 90), (1200, 360), "for an image of about 600x180"),
        ((1131, 1133, 548, 256), (2048, 1024), "for an image of about 1096x512"),
        ((1400, 1400, 1200, 360), (1200, 360), "for an image of about 2400x720"),
        ((20000, 20000, 600, 180), (1200, 360), "horizontal field of view of 3.4 degrees"),
        ((30, 30, 600, 180), (1200, 360), "horizontal field of view of 174.3 degrees"),
        ((7000, 7000, 600, 180), (1200, 360), "vertical field of view of 2.9 degrees"),
    ],
)
def test_values_that_cannot_be_right(values, size, message):
    with pytest.raises(SourceError, match=f"camera.txt: .*{message}"):
        check_camera(Camera(*values, *size), "camera.txt")
