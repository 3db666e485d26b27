"""Files that `predict` writes: label maps, overlays, disparity, videos, and `predictions.json`, their description."""

import io
import json
import pathlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdeseg_jax.config import UserError
from sdeseg_jax.data.builders.label_pixels import CLASSES_KEY, class_text
from sdeseg_jax.data.classes import VOID, ClassMap
from sdeseg_jax.drawing.disparity_and_error_colors import colorize
from sdeseg_jax.drawing.label_overlays import overlay_labels
from sdeseg_jax.storage.atomic_files import TEMPORARY, atomic_write
from sdeseg_jax.storage.json_files import read_json

SUMMARY, LOCK = "predictions.json", ".lock"
ENDINGS = {"labels": ".png", "overlays": ".jpg", "disparity": ".png", "disparity_color": ".jpg", "confidence": ".png"}
"""Kind of file, also the name of its folder -> ending."""

NEEDS = {
    "labels": "label",
    "overlays": "label",
    "confidence": "confidence",
    "disparity": "disparity",
    "disparity_color": "disparity",
}
"""Kind of file -> output that it is made from."""

SIDE_BY_SIDE = "side_by_side"
"""Folder of the videos."""

LEVELS = 65535
"""Scale of 16-bit files: value = LEVELS * disparity or confidence."""

MAX_VIDEO_WIDTH, MAX_JPEG_SIDE = 1920, 16384
"""Pixels; larger side-by-side videos and JPEG files are shrunk."""

_FOLLOW = 0.1
"""Weight of a new frame in a video's range of coloured disparities; a range per frame would make it flicker."""


def open_output(folder: pathlib.Path, model: Mapping[str, Any]) -> dict:
    """Creates the folder for predictions, or opens one with earlier predictions of the same model, to resume.

    Args:
      folder: new, empty, or with such predictions.
      model: metadata of the model, way of predicting and kinds of files, JSON-serializable.

    Returns:
      The content of `predictions.json`, or {} in a new folder.

    Raises:
      UserError: the folder has other content.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output={folder} is a file; name a folder for the predictions")
    path = folder / SUMMARY
    if path.exists():
        try:
            earlier = read_json(path)
        except ValueError as error:
            raise UserError(f"--output={folder}: {path.name} {error}; use another folder") from error
        model = json.loads(json.dumps(model))
        if not isinstance(earlier, dict) or earlier.get("model") != model:
            raise UserError(
                f"--output={folder} has predictions of another model or with other settings "
                f"({_difference(earlier, model)}). Use another folder, or remove that one."
            )
        return earlier
    own = (LOCK, SUMMARY + TEMPORARY)
    there = sorted(one.name for one in folder.iterdir() if one.name not in own) if folder.exists() else []
    if there:
        more = f" and {len(there) - 3} more" if len(there) > 3 else ""
        raise UserError(
            f"--output={folder} has other content ({', '.join(there[:3])}{more}). Use a new or empty folder, or one "
            "with earlier predictions of the same model."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return {}


def _difference(earlier, model: Mapping) -> str:
    before = earlier.get("model") if isinstance(earlier, dict) else None
    if not isinstance(before, dict):
        return f"{SUMMARY} does not name the model"
    keys = [key for key in {**before, **model} if before.get(key) != model.get(key)]
    return "; ".join(f"{key}: {_short(before.get(key))} there, {_short(model.get(key))} now" for key in keys[:3])


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else text[:77] + "..."


class PredictionFiles:
    """Draws and writes the files of all images in several threads; use as a context.

    Attributes:
      folder: of all files.
      kinds: keys of ENDINGS to write.
    """

    def __init__(
        self, folder: pathlib.Path, kinds: tuple[str, ...], classes: ClassMap | None, depth: Mapping | None, threads=4
    ):
        """Starts the threads. The folder must exist; `depth` is metadata to store in files of disparity."""
        self.folder, self.kinds, self._classes = folder, kinds, classes
        self._palette = _palette(classes) if classes else None
        self._notes = {"disparity": {"Description": "value / 65535 = disparity", **_text(depth or {})}}
        self._notes["confidence"] = {"Description": "value / 65535 = probability of the label's class"}
        if classes:
            self._notes["labels"] = {CLASSES_KEY: class_text(dict(enumerate(classes.names)))}
        self._pool = ThreadPoolExecutor(threads)
        self._span: tuple[str, tuple[float, float]] = ("", (0.0, 0.0))

    def paths(self, name: str) -> dict[str, pathlib.Path]:
        """Returns kind -> file of an image."""
        return {kind: self.folder / kind / f"{name}{ENDINGS[kind]}" for kind in self.kinds}

    def has(self, name: str) -> bool:
        """Whether all files of an image exist; files are written atomically, so they are complete."""
        return all(path.exists() for path in self.paths(name).values())

    def write(
        self, name: str, image: np.ndarray, outputs: Mapping[str, np.ndarray], clip: str = "", side_by_side=False
    ) -> Future:
        """Starts drawing and writing the files of an image.

        Args:
          name: of the image.
          image: uint8 [H, W, 3].
          outputs: `label` uint8, `confidence` and `disparity` float32, [H, W] each; any may be missing.
          clip: name of the video; its frames are coloured consistently, in the order of these calls.
          side_by_side: whether to return panels.

        Returns:
          Future of the panels image, overlay and coloured disparity side by side, uint8 [H, W', 3], or None; raises
          OSError if a file cannot be written.
        """
        span = self._colour_span(outputs["disparity"], clip) if "disparity" in outputs else None
        return self._pool.submit(self._write, name, image, outputs, span, side_by_side)

    def _colour_span(self, disparity: np.ndarray, clip: str) -> tuple[float, float]:
        """Returns the disparities of the first and last colour, from a subset of pixels; slowly changing in a video."""
        span = tuple(float(one) for one in np.percentile(disparity[::4, ::4], (1, 99)))
        if clip:
            if clip == self._span[0]:
                pairs = zip(self._span[1], span, strict=True)
                span = tuple((1 - _FOLLOW) * old + _FOLLOW * new for old, new in pairs)
            self._span = (clip, span)
        return span

    def _write(self, name: str, image, outputs: Mapping, span, side_by_side: bool) -> np.ndarray | None:
        wanted = set(self.kinds) | ({"overlays", "disparity_color"} if side_by_side else set())
        drawn = {}
        if "label" in outputs and "overlays" in wanted:
            drawn["overlays"] = overlay_labels(image, outputs["label"], self._classes.colors)
        if "disparity" in outputs and "disparity_color" in wanted:
            drawn["disparity_color"] = colorize(outputs["disparity"], *span)
        for kind, path in self.paths(name).items():
            atomic_write(path, self._encoded(kind, drawn[kind] if kind in drawn else outputs[NEEDS[kind]]))
        return np.concatenate([image, *drawn.values()], axis=1) if side_by_side else None

    def _encoded(self, kind: str, content: np.ndarray) -> bytes:
        if kind in ("disparity", "confidence"):
            content = np.rint(np.clip(content, 0, 1) * LEVELS).astype(np.uint16)
        image = Image.fromarray(content)
        if kind == "labels":
            image.putpalette(self._palette)
        buffer = io.BytesIO()
        if ENDINGS[kind] == ".jpg":
            image.thumbnail((MAX_JPEG_SIDE, MAX_JPEG_SIDE))
            image.save(buffer, "JPEG", quality=92)
        else:
            notes = PngInfo()
            for key, text in self._notes[kind].items():
                notes.add_text(key, text)
            image.save(buffer, "PNG", pnginfo=notes)
        return buffer.getvalue()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._pool.shutdown(cancel_futures=True)


def _palette(classes: ClassMap) -> list[int]:
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(classes)] = classes.colors
    palette[VOID] = 0
    return palette.ravel().tolist()


def _text(facts: Mapping) -> dict[str, str]:
    return {key: str(value) for key, value in facts.items()}


def for_video(panels: np.ndarray) -> np.ndarray:
    """Returns panels as a frame of the side-by-side video."""
    height, width = panels.shape[:2]
    if width <= MAX_VIDEO_WIDTH:
        return panels
    size = (MAX_VIDEO_WIDTH, max(2, round(height * MAX_VIDEO_WIDTH / width)))
    return np.asarray(Image.fromarray(panels).resize(size, Image.Resampling.BOX))


def side_by_side_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of a medium's side-by-side video."""
    return folder / SIDE_BY_SIDE / f"{name}.mp4"


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes files that a killed process left half-written in the folders of predictions."""
    for kind, ending in {**ENDINGS, SIDE_BY_SIDE: ".mp4"}.items():
        for path in (folder / kind).rglob(f"*{ending}{TEMPORARY}"):
            if path.is_file():
                path.unlink()
