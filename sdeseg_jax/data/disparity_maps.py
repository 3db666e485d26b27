"""Disparity maps on disk: what `estimate_depth` writes and mixing reads."""

import pathlib

import numpy as np
import tensorflow as tf

from sdeseg_jax.storage.atomic_files import atomic_write

LEVELS = 65535
_PNG_END = b"IEND\xaeB`\x82"


class DisparityFolder:
    """Sigmoid disparity of every frame of a split, `folder/<split>/<id>.png`, 16 bit: value = disparity * 65535.

    Files are written atomically; a damaged one was cut off later.
    """

    def __init__(self, folder: str | pathlib.Path, split: str):
        self.folder = pathlib.Path(folder) / split

    def path(self, frame_id: str) -> pathlib.Path:
        """File of a frame."""
        return self.folder / f"{frame_id}.png"

    def missing(self, ids) -> list[str]:
        """Returns those of `ids` whose file does not exist or is cut off."""
        present = {path.name for path in self._files()} - {path.name for path in self.damaged()}
        return [name for name in ids if self.path(name).name not in present]

    def damaged(self) -> list[pathlib.Path]:
        """Returns files that are cut off: they lack the last bytes that every PNG has."""
        return [path for path in self._files() if not _has_png_end(path)]

    def _files(self) -> list[pathlib.Path]:
        return sorted(self.folder.glob("*.png")) if self.folder.is_dir() else []

    def write(self, frame_id: str, disparity: np.ndarray) -> None:
        """Stores a map [H, W] or [H, W, 1] in [0, 1]."""
        pixels = np.rint(np.clip(np.asarray(disparity, np.float32).reshape(disparity.shape[:2] + (1,)), 0, 1) * LEVELS)
        atomic_write(self.path(frame_id), tf.io.encode_png(pixels.astype(np.uint16)).numpy())

    def read(self, frame_id: tf.Tensor) -> tf.Tensor:
        """Reads a frame's map in a tf.data graph: float32 [H, W, 1] in [0, 1]."""
        content = tf.io.read_file(tf.strings.join([str(self.folder) + "/", frame_id, ".png"]))
        return tf.cast(tf.io.decode_png(content, channels=1, dtype=tf.uint16), tf.float32) / LEVELS


def _has_png_end(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_PNG_END)))
        return file.read() == _PNG_END


def normalize(disparity: tf.Tensor) -> tf.Tensor:
    """Scales one map to [0, 1] by its minimum and maximum, as mixing and matching need it; a constant one becomes 0."""
    low, high = tf.reduce_min(disparity), tf.reduce_max(disparity)
    return tf.math.divide_no_nan(disparity - low, high - low)
