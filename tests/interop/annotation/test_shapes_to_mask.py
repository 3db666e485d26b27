"""Shapes of annotation tools as masks, compared with vectors that the tools' own code wrote and with brute force."""

import numpy as np
import pytest

from sdeseg_jax.interop.annotation.shapes_to_mask import (
    Shape,
    StrayShapeError,
    brush_mask,
    counts_from_string,
    paint,
    polygon_mask,
    polygon_points,
    rle_mask,
)


def inside(points, size):
    """Even-odd rule at pixel centres, a pixel at a time."""
    mask = np.zeros(size, bool)
    for row, column in np.ndindex(*size):
        y, x = row + 0.5, column + 0.5
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
            if (y0 <= y) != (y1 <= y) and x >= x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                mask[row, column] ^= True
    return mask


@pytest.mark.parametrize("seed", range(10))
def test_polygon_follows_the_even_odd_rule_at_pixel_centres(seed):
    points = np.random.default_rng(seed).uniform(-5, 20, (3 + seed, 2))  # beyond the image; crosses itself
    np.testing.assert_array_equal(polygon_mask(points, (12, 15)), inside(points, (12, 15)))


def test_rectangle_covers_its_pixels_alone():
    mask = polygon_mask([(2, 1), (6, 1), (6, 4), (2, 4)], (6, 9))
    expected = np.zeros((6, 9), bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(mask, expected)


def test_neighbours_neither_overlap_nor_leave_a_gap():
    points = np.random.default_rng(0).uniform(0, 30, (8, 2))
    corners, middle = np.array([(0, 0), (30, 0), (30, 20), (0, 20)]), (13.2, 7.7)
    edges = zip(corners, np.roll(corners, -1, 0), strict=True)
    parts = [polygon_mask([one, other, middle], (20, 30)) for one, other in edges]
    np.testing.assert_array_equal(np.sum(parts, 0), 1)
    for one, other in zip(points[:4], points[4:], strict=True):  # an edge drawn in either direction is the same
        left, right = polygon_mask([one, other, (0, 40)], (20, 30)), polygon_mask([other, one, (90, 3)], (20, 30))
        both = polygon_mask([one, (0, 40), other, (90, 3)], (20, 30))
        np.testing.assert_array_equal(left ^ right, both)


@pytest.mark.parametrize("outside", [(40, 0), (-40, 0), (0, 40), (0, -40)])
def test_polygon_outside_of_the_image_is_nothing(outside):
    assert not polygon_mask(np.array([(0, 0), (9, 0), (5, 9)]) + outside, (10, 10)).any()


FAR = [1, 2, 3, 4, 5, 1e300]


@pytest.mark.parametrize("values", [[[1, 2], [3]], ["a"] * 6, FAR, [float("nan")] * 6, {"x": 1}, [10**400] * 6])
def test_invalid_polygon_is_refused(values):
    with pytest.raises(ValueError, match="outline"):
        polygon_points(values)


@pytest.mark.parametrize("values", [[], [[]], [1, 2], [[1, 2], [3, 4]]])
def test_an_outline_of_fewer_than_three_points_is_stray(values):
    with pytest.raises(StrayShapeError, match=f"an outline of {np.size(values) // 2} points"):
        polygon_points(values)


def masks():
    small = np.zeros((5, 7), bool)
    small[1:4, 2:5] = small[0, 6] = True
    large = np.zeros((60, 80), bool)
    large[:50, 0] = large[7:, 40:] = True
    return small, large


@pytest.mark.parametrize(
    "text, mask",
    # Written by pycocotools 2.0.11; numbers of one and several characters, negative differences, a first run of 0.
    zip((";320004NN", "0b1eY23bf" + "M" + "0" * 77), masks(), strict=True),
)
def test_compressed_rle(text, mask):
    np.testing.assert_array_equal(rle_mask(counts_from_string(text), mask.shape), mask)


def test_rle_goes_down_the_columns():
    np.testing.assert_array_equal(rle_mask([1, 2, 3], (2, 3)), [[0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("text", ["0b1eY", "\x00", "é", "_" * 30])
def test_invalid_compressed_rle_is_refused(text):
    with pytest.raises(ValueError, match="compressed RLE"):
        counts_from_string(text)


@pytest.mark.parametrize("counts", [[1, 2], [7], [8, -2], [1.0, 5], ["6"], [True, 5]])
def test_rle_of_another_size(counts):
    with pytest.raises(ValueError, match="2x3"):
        rle_mask(counts, (3, 2))


BRUSH = [
    0, 0, 0, 96, 57, 27, 248, 0, 32, 1, 0, 6, 3, 254, 27, 0, 0, 36, 12, 128, 7, 128, 255, 0, 36, 12, 128, 7, 128, 255,
    0, 36, 12, 128, 7, 128, 255, 182, 0, 0, 72, 25, 0, 15, 1, 254, 0, 72, 25, 0, 15, 1, 254, 0, 72, 25, 0, 15, 1, 255,
    133, 192, 0, 1, 0, 8, 0, 48, 32, 0,
]  # fmt: skip
"""A rectangle of 2x3 pixels, a pixel of alpha 127 and one of 128, written by label_studio_sdk 2.1.2."""


def test_brush_mask():
    expected = np.zeros((4, 6), bool)
    expected[1:3, 2:5] = expected[3, 5] = True
    np.testing.assert_array_equal(brush_mask(BRUSH, (4, 6)), expected)
    runs = [0, 0, 0, 96, 57, 27, 254, 31, 0, 183, 255, 108, 2, 223, 254, 27, 0, 0]
    expected[3, 5] = False
    np.testing.assert_array_equal(brush_mask(runs, (4, 6)), expected)


@pytest.mark.parametrize(
    "rle, problem",
    [
        *((rle, "damaged") for rle in (BRUSH[:-8], [], [300], ["a"], BRUSH[:4] + [0] + BRUSH[5:])),
        ([0, 0, 0, 92] + BRUSH[4:], "23 pixels, but the image is 6x4"),
    ],
)
def test_invalid_brush_mask_is_refused(rle, problem):
    with pytest.raises(ValueError, match=problem):
        brush_mask(rle, (4, 6))


def test_later_shapes_lie_on_top_or_smaller_ones():
    small, large = np.zeros((2, 3), bool), np.ones((2, 3), bool)
    small[0, 0], large[1] = True, False
    shapes = [Shape(name, lambda size, mask=mask: mask, name) for name, mask in (("car", small), ("road", large))]
    values = {"car": 7, "road": 1}
    np.testing.assert_array_equal(paint(shapes, (2, 3), values).label, [[1, 1, 1], [255] * 3])
    np.testing.assert_array_equal(paint(shapes, (2, 3), values, 9, by_area=True).label, [[7, 1, 1], [9] * 3])
    np.testing.assert_array_equal(paint(shapes, (2, 3), {"car": 7}).label, [[7, 255, 255], [255] * 3])
    for by_area in (False, True):
        drawn = paint(shapes[::-1], (3, 3), values, by_area=by_area)
        assert drawn.problems == ["road is 3x2, but the image is 3x3", "car is 3x2, but the image is 3x3"]
        assert (drawn.label == 255).all() and not drawn.stray
