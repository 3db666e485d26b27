"""Log-disparity of all frames of a split, stored small enough to compare many of them for every training sample."""

import os
import pathlib
import uuid
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tqdm import auto as tqdm

from sdeseg_jax.adaptation.geometry_matching import log_disparity
from sdeseg_jax.data.disparity_maps import DisparityFolder, normalize
from sdeseg_jax.data.frame_dataset import FrameDataset

ROWS = 128
"""Crops are compared at this number of rows at least; larger ones are averaged over squares of pixels."""
_LEVELS = 65535
_LARGEST = float(log_disparity(np.float64(1.0)))


class GeometryMaps:
    """Log-disparity of frames, in one memory-mapped file of 16 bits per value.

    A map of 512 x 1024 pixels takes 64 KiB here. Decoding five candidates from PNG files would cost more than all the
    rest of a sample.

    Attributes:
      stride: side in pixels of the squares that are averaged to one value.
    """

    def __init__(self, path: pathlib.Path, rows: np.ndarray, stride: int):
        """Opens a file of `open_geometry`.

        Args:
          path: of the array [frames, height / stride, width / stride].
          rows: record index -> row of the array, -1 for other frames.
          stride: see above.
        """
        self.stride, self._rows, self._maps = stride, rows, np.load(path, mmap_mode="r")

    def crops(self, indices: np.ndarray, corners: np.ndarray, flipped: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
        """Returns the maps of crops, whose corners are rounded to the stride.

        Args:
          indices: records [N].
          corners: top and left of the crops in pixels [N, 2].
          flipped: bool [N], mirrored horizontally.
          crop: (height, width) in pixels.

        Returns:
          float32 [N, crop height / stride, crop width / stride].
        """
        size = [side // self.stride for side in crop]
        last = np.array(self._maps.shape[1:]) - size
        out = np.empty((len(indices), *size), np.float32)
        for i, (index, corner) in enumerate(zip(indices, corners, strict=True)):
            top, left = np.minimum((corner + self.stride // 2) // self.stride, last)
            part = self._maps[self._rows[index], top : top + size[0], left : left + size[1]]
            out[i] = part[:, ::-1] if flipped[i] else part
        return out * np.float32(_LARGEST / _LEVELS)


def geometry_stride(crop: tuple[int, int]) -> int:
    """Returns the largest power of two that divides both sides of the crop and leaves `ROWS` rows or more."""
    (height, width), stride = crop, 1
    while height // (2 * stride) >= ROWS and height % (2 * stride) == 0 and width % (2 * stride) == 0:
        stride *= 2
    return stride


def open_geometry(
    path: pathlib.Path, disparities: DisparityFolder, dataset: FrameDataset, frames: np.ndarray, stride: int
) -> GeometryMaps:
    """Opens the geometry of some frames; writes it from their stored disparity if it does not exist or is older.

    Args:
      path: of the file without its ending; a hash of the frames and the stride is added.
      disparities: of all the frames.
      frames: record indices.
      stride: of the maps; maps that are compared need the same one, see `geometry_stride`.
    """
    ids = [dataset.index.ids[i] for i in frames]
    path = path.with_name(f"{path.name}_{zlib.crc32(repr((ids, stride)).encode()):08x}.npy")
    record = disparities.folder.with_name("stage.json")
    outdated = record.exists() and path.exists() and record.stat().st_mtime > path.stat().st_mtime
    if outdated or not path.exists():
        _write(path, disparities, ids, dataset.image_size, stride)
    rows = np.full(len(dataset.index), -1, np.int64)
    rows[frames] = np.arange(len(frames))
    return GeometryMaps(path, rows, stride)


def _write(path: pathlib.Path, disparities: DisparityFolder, ids: Sequence[str], size, stride: int) -> None:
    """Writes all maps to a temporary file, which is renamed to `path` when it is complete."""

    def read(frame_id: tf.Tensor) -> tf.Tensor:
        disparity = tf.ensure_shape(normalize(disparities.read(frame_id)), (*size, 1))
        geometry = tf.math.log1p(disparity)[None]
        return tf.nn.avg_pool2d(geometry, stride, stride, "VALID")[0, ..., 0]

    maps = tf.data.Dataset.from_tensor_slices(list(ids)).map(read, num_parallel_calls=os.cpu_count()).prefetch(8)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")  # hosts that share the folder write one each
    shape = (len(ids), *(side // stride for side in size))
    try:
        out = np.lib.format.open_memmap(temporary, "w+", np.uint16, shape)
        progress = tqdm.tqdm(maps.as_numpy_iterator(), "geometry of frames", len(ids), unit="frame", leave=False)
        for i, one in enumerate(progress):
            out[i] = np.rint(one * (_LEVELS / _LARGEST))
        out.flush()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
