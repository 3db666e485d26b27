"""Arrays to pictures: colours of values and classes, and sheets of pictures."""

import numpy as np

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.drawing.disparity_and_error_colors import Picture, black_and_white, colorize, photo
from sdeseg_jax.drawing.label_overlays import colorize_labels, overlay_labels
from sdeseg_jax.drawing.panel_image import GAP, LINE, draw_sheet


def test_label_colours_are_the_palette():
    label = np.array([[0, 10, 18], [255, 19, 11]], np.uint8)
    expected = [[(128, 64, 128), (70, 130, 180), (119, 11, 32)], [(0, 0, 0), (0, 0, 0), (220, 20, 60)]]
    np.testing.assert_array_equal(colorize_labels(label, CITYSCAPES.colors), expected)
    np.testing.assert_array_equal(colorize_labels(label.astype(np.int32), CITYSCAPES.colors), expected)


def test_colorize_clips_and_leaves_unknown_black():
    values = np.array([[-1.0, 0.0, 2.0, 3.0, np.nan, np.inf, 1.0]])
    known = np.array([[True] * 6 + [False]])
    pixels = colorize(values, 0, 2, "viridis", known)[0]
    assert tuple(pixels[0]) == tuple(pixels[1]) == (68, 1, 84)
    assert tuple(pixels[2]) == tuple(pixels[3]) == (253, 231, 36)
    np.testing.assert_array_equal(pixels[4:], 0)


def test_colorize_of_a_constant_map():
    assert np.unique(colorize(np.full((3, 4), 0.5), 0.5, 0.5).reshape(-1, 3), axis=0).shape == (1, 3)


def test_photo_and_mask():
    np.testing.assert_array_equal(photo(np.array([[[0.0, 0.5, 1.5]]])), [[[0, 128, 255]]])
    np.testing.assert_array_equal(black_and_white(np.array([[True, False]]))[0, :, 0], [255, 0])


def test_overlay_is_half_image_half_colour():
    image = np.full((1, 2, 3), 201, np.uint8)
    np.testing.assert_array_equal(
        overlay_labels(image, np.array([[0, 255]]), [(128, 64, 1)]), [[[164, 132, 101], [100, 100, 100]]]
    )


def test_sheet_has_every_picture_in_its_place():
    colors = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (9, 9, 9)]], np.uint8)
    rows = [[Picture(np.tile(color, (4, 8, 1)), "much too long" * 9) for color in row] for row in colors]
    sheet = np.asarray(draw_sheet(rows, width=40))
    cell = (40 + GAP, 20 + LINE + GAP)
    assert sheet.shape == (2 * cell[1] - GAP, 2 * cell[0] - GAP, 3)
    for i, row in enumerate(colors):
        for j, color in enumerate(row):
            shown = sheet[i * cell[1] : i * cell[1] + 20, j * cell[0] : j * cell[0] + 40]
            np.testing.assert_array_equal(shown, np.broadcast_to(color, (20, 40, 3)))
    assert (sheet[:, 40 : 40 + GAP] == 255).all()
