"""Frames chosen for annotation -> a folder for annotators, see `sdeseg annotation-package`."""

import pathlib
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data import video_files
from sdeseg_jax.data.builders.annotation_file_names import tool_name
from sdeseg_jax.data.builders.folder_frame_names import FolderFrame, ambiguous_labels
from sdeseg_jax.data.builders.frame_encoding import QUALITY
from sdeseg_jax.data.builders.image_reading import is_deep, open_image, read_image
from sdeseg_jax.data.builders.scanned_clips import Frame
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.interop.annotation.shapes_to_mask import VOID_NAME
from sdeseg_jax.report.selection_pictures import contact_sheet, thumbnail
from sdeseg_jax.storage.atomic_files import atomic_write

_SHOWN = 20
"""Most problems that a message lists."""

_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright

_SHOWN_BY_BROWSERS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Endings of images that annotation tools can show; others become PNG."""


def chosen_frames(
    selection: pathlib.Path, frames: Mapping[str, FolderFrame], source: pathlib.Path
) -> list[FolderFrame]:
    """Returns the frames of a selection, in its order.

    Args:
      selection: its folder, or a `files.txt`: a line per frame, with the image, a tab, and its label.
      frames: of the folder, by id.
      source: the folder, for messages.

    Raises:
      ValueError: the selection names frames that the folder does not have, repeats one, or has some whose labels could
        not be matched to them; lists all.
    """
    path = selection / "files.txt" if selection.is_dir() else selection
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}). --selection should name the folder "
            "of a selection from a dataset 'folder', e.g. runs/mine/selection/50"
        ) from error
    if not lines:
        raise ValueError(f"{path} is empty")
    if not any("\t" in line for line in lines):
        if path.suffix == ".json" and path.with_suffix("").is_dir():
            raise ValueError(f"{path} lists ids; use the folder beside it, --selection={path.with_suffix('')}")
        raise ValueError(f"{path} has no file names; prepare the folder again, select again, and use that selection")
    by_label = {one.label: one for one in frames.values()}
    same_name = defaultdict(list)  # of all frames, chosen or not: `make_labels` matches labels to any of them
    for one in frames.values():
        same_name[tool_name(one.frame.id)].append(one.image)
    ambiguous, chosen, problems = ambiguous_labels(frames), [], []
    for number, line in enumerate(lines, 1):
        image, _, label = line.strip().partition("\t")
        where, found = f"{path}, line {number}", by_label.get(label)
        if found is None:
            hint = nearest(label, by_label) if not problems else ""  # slow for a large folder
            problems.append(f"{where}: {source} has no frame with the label '{label}'{hint}")
        elif found.image != image:
            problems.append(f"{where}: '{label}' is the label of {found.image}, not of {image}")
        elif label in ambiguous:
            images = " or ".join(ambiguous[label])
            problems.append(f"{where}: '{label}' could be of {images}; rename all but one, prepare and select again")
        elif len(same := same_name[tool_name(found.frame.id)]) > 1:
            images = " and ".join(same)
            problems.append(f"{where}: {images} have the same name for tools; rename one, prepare and select again")
        elif found in chosen:
            problems.append(f"{where}: '{label}' is listed twice")
        else:
            chosen.append(found)
    _raise_if_any(problems)
    return chosen


def export_frames(frames: Sequence[FolderFrame], folder: pathlib.Path, video_format: str = "jpg") -> list[str]:
    """Writes `images/`, `images.txt` and `contact_sheet.jpg`.

    Image files are copied. Those with an EXIF rotation are rotated, because tools disagree on whether to apply it.
    Formats that browsers do not show become PNG.

    Args:
      frames: in the order of choice.
      folder: to write to.
      video_format: for frames of videos: "jpg" (quality 95, full colour resolution) or "png".

    Returns:
      Names of the image files, in order.

    Raises:
      ValueError: images cannot be decoded; lists all.
    """
    names = [tool_name(one.frame.id) + _suffix(one.frame, video_format) for one in frames]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    thumbnails, problems = [None] * len(frames), []
    # Sorted so that a video is read once, forwards.
    for i in sorted(range(len(frames)), key=lambda i: (frames[i].frame.image, frames[i].frame.video_index or 0)):
        try:
            thumbnails[i] = _export(frames[i].frame, folder / "images" / names[i])
        except OSError as error:
            if error.errno is not None:  # the disk's; Pillow's have none
                raise
            problems.append(f"{frames[i].image} cannot be decoded ({error})")
        except Exception as error:  # damaged files raise many kinds
            problems.append(f"{frames[i].image} cannot be decoded ({str(error) or type(error).__name__})")
    _raise_if_any(problems)
    rows = (f"images/{name}\t{one.image}\t{one.label}\n" for one, name in zip(frames, names, strict=True))
    atomic_write(folder / "images.txt", "".join(rows))
    captions = [f"{rank} {pathlib.PurePath(name).stem}" for rank, name in enumerate(names, 1)]
    contact_sheet(_same_size(thumbnails), captions).save(folder / "contact_sheet.jpg", quality=90)
    return names


def tool_labels(classes: ClassMap) -> list[tuple[str, tuple[int, int, int]]]:
    """Returns (name, colour) of the labels that annotators choose from: the classes, and void."""
    labels = list(zip(classes.names, classes.colors, strict=True))
    if VOID_NAME in classes.names:
        return labels
    # Not black, which CVAT's masks have where nothing is annotated.
    free = next(level for level in range(255, 0, -1) if (level,) * 3 not in classes.colors)
    return [*labels, (VOID_NAME, (free,) * 3)]


def _suffix(frame: Frame, video_format: str) -> str:
    if frame.video_index is not None:
        return f".{video_format}"
    suffix = pathlib.Path(frame.image).suffix.lower()
    return suffix if suffix in _SHOWN_BY_BROWSERS else ".png"


def _export(frame: Frame, target: pathlib.Path) -> np.ndarray:
    """Writes one image; returns its thumbnail."""
    if frame.video_index is not None:
        pixels = video_files.read_frame(frame.image, frame.video_index)
        Image.fromarray(pixels).save(target, quality=QUALITY, subsampling="4:4:4")
        return thumbnail(pixels)
    with open_image(frame.image) as image:
        as_shown = image.getexif().get(_ORIENTATION, 1) == 1 and not is_deep(frame.image, image)
    image = read_image(frame.image)
    if as_shown and target.suffix == pathlib.Path(frame.image).suffix.lower():
        shutil.copyfile(frame.image, target)
    else:
        image.save(target, quality=QUALITY, subsampling="4:4:4")
    return thumbnail(np.asarray(image))


def _same_size(thumbnails: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pads thumbnails with white below to the same height."""
    height = max(image.shape[0] for image in thumbnails)
    return [np.pad(image, ((0, height - image.shape[0]), (0, 0), (0, 0)), constant_values=255) for image in thumbnails]


def _raise_if_any(problems: Sequence[str]) -> None:
    if problems:
        more = f"\n… and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ValueError("\n".join(problems[:_SHOWN]) + more)
