"""A panel as one picture, for pages that are no HTML of this package."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from sdeseg_jax.report.colorize import Picture

GAP, LINE = 6, 20
"""Pixels between pictures, and of a caption's line."""


def draw_sheet(rows: Sequence[Sequence[Picture]], width: int) -> Image.Image:
    """Draws pictures of one size in rows, each with its caption below it.

    Args:
      rows: all of the same length.
      width: pixels that each picture is made wide; its height follows. What is too long of a caption is cut off.
    """
    height, pixels = rows[0][0].pixels.shape[:2]
    size = (width, max(1, round(width * height / pixels)))
    cell = (size[0] + GAP, size[1] + LINE + GAP)
    sheet = Image.new("RGB", (len(rows[0]) * cell[0] - GAP, len(rows) * cell[1] - GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            left, top, caption = j * cell[0], i * cell[1], picture.caption
            how = Image.Resampling.LANCZOS if picture.smooth else Image.Resampling.NEAREST
            sheet.paste(Image.fromarray(picture.pixels).resize(size, how), (left, top))
            while draw.textlength(caption, font) > size[0]:
                caption = caption[:-1]
            draw.text((left, top + size[1] + 2), caption, fill="black", font=font)
    return sheet
