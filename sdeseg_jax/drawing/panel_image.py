"""A panel as one image file, for pages other than the HTML report."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from sdeseg_jax.drawing.disparity_and_error_colors import Picture

GAP, LINE = 6, 20
"""Pixels between pictures, and height of a caption."""


def draw_sheet(rows: Sequence[Sequence[Picture]], width: int) -> Image.Image:
    """Draws pictures of one size in rows, each with its caption, cut off where it is too long, below it.

    Args:
      rows: all of the same length.
      width: pixels to which each picture is resized; its height follows.
    """
    height, pixels = rows[0][0].pixels.shape[:2]
    size = (width, max(1, round(width * height / pixels)))
    cell = (size[0] + GAP, size[1] + LINE + GAP)
    sheet = Image.new("RGB", (len(rows[0]) * cell[0] - GAP, len(rows) * cell[1] - GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            left, top, caption = j * cell[0], i * cell[1], picture.caption
            method = Image.Resampling.LANCZOS if picture.smooth else Image.Resampling.NEAREST
            sheet.paste(Image.fromarray(picture.pixels).resize(size, method), (left, top))
            while draw.textlength(caption, font) > size[0]:
                caption = caption[:-1]
            draw.text((left, top + size[1] + 2), caption, fill="black", font=font)
    return sheet
