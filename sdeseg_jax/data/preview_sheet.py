"""A contact sheet of a prepared dataset: frames with their labels as overlays, and the colours of the classes."""

import io
import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw, ImageFont

from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.drawing.disparity_and_error_colors import Picture
from sdeseg_jax.drawing.label_overlays import overlay_labels
from sdeseg_jax.drawing.panel_image import draw_sheet
from sdeseg_jax.storage.atomic_files import atomic_write

FILE = "preview.jpg"

FRAMES, COLUMNS, WIDTH = 12, 4, 400
"""Number of frames, in a row, and their width in pixels."""

_LINE, _SWATCH, _GAP = 24, 16, 6


def write_preview(builder: tfds.core.DatasetBuilder) -> pathlib.Path:
    """Writes `preview.jpg` into the folder of a prepared dataset, and returns its path."""
    pictures, classes = _pictures(builder)
    rows = [pictures[first : first + COLUMNS] for first in range(0, len(pictures), COLUMNS)]
    blank = Picture(np.full_like(pictures[0].pixels, 255), "")
    rows[-1] = rows[-1] + [blank] * (len(rows[0]) - len(rows[-1]))
    sheet = draw_sheet(rows, WIDTH)
    path, stream = pathlib.Path(builder.data_path) / FILE, io.BytesIO()
    (_with_legend(sheet, classes) if classes else sheet).save(stream, "JPEG", quality=90)
    atomic_write(path, stream.getvalue())
    return path


def _pictures(builder: tfds.core.DatasetBuilder) -> tuple[list[Picture], ClassMap | None]:
    """Returns frames spread over all splits, and the classes; annotated frames only, if there are any."""
    datasets = [FrameDataset(builder, name) for name, split in builder.info.splits.items() if split.num_examples]
    annotated = any(len(dataset.index.labeled) for dataset in datasets)
    found = [
        (dataset, frame)
        for dataset in datasets
        for frame in (dataset.index.labeled if annotated else dataset.index.targets)
    ]
    places = np.unique(np.linspace(0, len(found) - 1, FRAMES).round().astype(int))
    return [_picture(*found[place], annotated) for place in places], datasets[0].classes if annotated else None


def _picture(dataset: FrameDataset, frame: int, annotated: bool) -> Picture:
    caption = f"{dataset.split}: {dataset.index.ids[frame]}"
    record = dataset.read(tf.constant(frame), ("image", "label") if annotated else ("image",))
    image = record["image"].numpy()
    if annotated:
        image = overlay_labels(image, record["label"].numpy()[..., 0], dataset.classes.colors)
    return Picture(image, caption)


def _with_legend(sheet: Image.Image, classes: ClassMap) -> Image.Image:
    """Adds the names of the classes beside their colours, and black for void, above the sheet."""
    font, entries = ImageFont.load_default(14), [*zip(classes.names, classes.colors, strict=True), ("void", (0, 0, 0))]
    places, left, top = [], _GAP, _GAP
    for name, _ in entries:
        width = _SWATCH + 2 * _GAP + round(font.getlength(name)) + _SWATCH
        if left + width > sheet.width and left > _GAP:
            left, top = _GAP, top + _LINE
        places.append((left, top))
        left += width
    whole = Image.new("RGB", (sheet.width, sheet.height + top + _LINE), "white")
    whole.paste(sheet, (0, top + _LINE))
    draw = ImageDraw.Draw(whole)
    for (name, color), (x, y) in zip(entries, places, strict=True):
        draw.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=color, outline="black")
        draw.text((x + _SWATCH + _GAP, y), name, fill="black", font=font)
    return whole
