"""Images of 16 bits per channel whose values have 8, 10, 12 or 14 bits, in every format; one scale for a dataset."""

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.data.builders.image_reading import (
    BIT_DEPTHS,
    DeepValues,
    bit_depth,
    find_bit_depth,
    read_image,
    survey_bit_depth,
    survey_values,
)
from sdeseg_jax.data.builders.source_errors import SourceError
from tests.data.builders.png_writer import GREY, GREY_ALPHA, RGB, RGBA, png

LEVELS = np.arange(256, dtype=np.uint16).reshape(16, 16)
"""As they should be read."""


def deep(bits, levels=LEVELS):
    """Values of `bits` bits whose highest 8 are `levels`; the lowest bits are used."""
    return (levels.astype(np.uint16) << (bits - 8)) | np.uint16(2 ** (bits - 8) - 1)


def netpbm(values, largest, kind):
    height, width = values.shape[:2]
    return b"%s # a comment\n%d %d\n%d\n" % (kind, width, height, largest) + values.astype(">u2").tobytes()


def three(values):
    return np.stack([values, values[::-1], values.T], -1)


def grey(name, folder, content):
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)
    return path


@pytest.mark.parametrize("bits", BIT_DEPTHS)
def test_values_of_any_depth_are_scaled_to_8_bits(tmp_path, bits):
    values = deep(bits)
    for name, content in {
        "grey.png": png(values, 16, GREY),
        "grey.tif": values,
        "grey.pgm": netpbm(values, 65535, b"P5"),
    }.items():
        path = grey(name, tmp_path, content)
        found = bit_depth([survey_values(str(path))])
        assert found == bits, name
        np.testing.assert_array_equal(np.asarray(read_image(path, bits))[..., 0], LEVELS, err_msg=name)
    for name, content in {
        "rgb.png": png(three(values), 16, RGB),
        "rgb.ppm": netpbm(three(values), 65535, b"P6"),
    }.items():
        path = grey(name, tmp_path, content)
        assert survey_values(str(path)).largest == values.max()
        np.testing.assert_array_equal(np.asarray(read_image(path, bits)), three(LEVELS), err_msg=name)


def test_opacity_of_16_bits(tmp_path):
    """Transparent pixels are black, as with 8 bits."""
    alpha = np.where(LEVELS % 2, 65535, 0)
    values = np.concatenate([three(deep(16)), alpha[..., None]], -1)
    shown = np.asarray(read_image(grey("a.png", tmp_path, png(values, 16, RGBA))))
    np.testing.assert_allclose(shown, np.where(LEVELS[..., None] % 2, three(LEVELS), 0), atol=1)
    shown = np.asarray(read_image(grey("b.png", tmp_path, png(values[..., [0, 3]], 16, GREY_ALPHA))))
    np.testing.assert_allclose(shown[..., 0], np.where(LEVELS % 2, LEVELS, 0), atol=1)


@pytest.mark.parametrize("largest", [1023, 4095, 16383, 65535])
def test_the_largest_value_in_the_header_of_netpbm_is_the_scale(tmp_path, largest):
    values = np.linspace(0, largest, 256).astype(int).reshape(16, 16)
    pgm = read_image(grey("a.pgm", tmp_path, netpbm(values, largest, b"P5")))
    ppm = read_image(grey("a.ppm", tmp_path, netpbm(three(values), largest, b"P6")))
    np.testing.assert_allclose(np.asarray(pgm)[..., 0], LEVELS, atol=1)
    np.testing.assert_allclose(np.asarray(ppm), three(LEVELS), atol=1)


@pytest.mark.parametrize(
    "values, significant, expected",
    [
        (deep(12) // 2, [12], 12),
        (deep(12) // 16, [12], 12),  # dark, but the file says so
        (deep(12) // 16, None, 8),
        (deep(16), [12], 16),  # scaled to 16 bits, as PNG wants it
        (deep(12)[:2] // 16 * 16, [12], 16),  # the same, dark: its lowest 4 bits are never used
        (deep(12) // 16 * 16, None, 16),
        (deep(11), None, 12),
        (np.zeros((16, 16)), None, 16),
    ],
)
def test_evidence(tmp_path, values, significant, expected):
    path = grey("a.png", tmp_path, png(values, 16, GREY, significant=significant))
    assert bit_depth([survey_values(str(path))]) == expected


def test_a_dark_frame_is_read_like_its_neighbours(tmp_path):
    for number, level in enumerate((255, 20, 255)):
        grey(f"{number}.png", tmp_path, png(deep(12, LEVELS * level // 255), 16))
    shown = [np.asarray(read_image(tmp_path / f"{number}.png")) for number in range(3)]
    assert shown[0].max() == shown[2].max() == 255 and shown[1].max() == 20
    depth, notes = survey_bit_depth({"drive": [str(tmp_path / f"{number}.png") for number in range(3)]})
    assert depth == 12 and "3 images have 16 bits per channel, but values up to 4095 only" in notes[0]
    np.testing.assert_array_equal(shown[1], np.asarray(read_image(tmp_path / "1.png", depth)))


def test_images_of_8_bits_are_no_evidence(tmp_path):
    grey("a.png", tmp_path, LEVELS.astype(np.uint8))
    grey("b.png", tmp_path, b"broken")
    assert survey_bit_depth({"a": [str(tmp_path / "a.png"), str(tmp_path / "b.png"), str(tmp_path / "c.mp4")]}) == (
        16,
        [],
    )


def test_clips_of_different_depth():
    bright, dim, dark = (DeepValues(largest, largest | 1) for largest in (4000, 1000, 200))
    assert find_bit_depth({"a": [bright, dark], "b": [dim]})[0] == 12
    with pytest.raises(SourceError, match="clip 'b' have 16 bits .* values up to 200 only, as 8-bit values are"):
        find_bit_depth({"a": [bright], "b": [dark]})
    with pytest.raises(SourceError, match="single images have 16 bits .* clip 'b' use 16 bits"):
        find_bit_depth({"": [bright], "b": [DeepValues(65535, 65535)]})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_images_of_16_bits(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    levels = 7 * np.arange(32).reshape(8, 4)
    shown = []
    for bits, scale in ((8, 1), (16, 257)):
        for values, kind in ((levels, GREY), (levels[..., None].repeat(3, 2), RGB)):
            path = grey(
                "a.png", tmp_path, png(values * scale, bits, kind, exif=exif.tobytes().removeprefix(b"Exif\0\0"))
            )
            shown.append(np.asarray(read_image(path, 16)))
    assert shown[0].shape == ((4, 8, 3) if orientation > 4 else (8, 4, 3))
    for one in shown[1:]:
        np.testing.assert_array_equal(one, shown[0])
