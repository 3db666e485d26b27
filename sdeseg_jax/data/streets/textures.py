"""A multi-octave noise texture with a mip pyramid, sampled at surface coordinates in metres.

A surface point has the same texture coordinates, hence the same colour, in every frame; the pyramid averages octaves
finer than a pixel's footprint, so that nothing shimmers in the distance.
"""

import functools

import numpy as np

SIZE = 1024  # texels per side of the finest level
TEXEL = 0.025  # metres per texel of the finest level
PERIOD = SIZE * TEXEL  # metres after which the texture repeats
LEVELS = SIZE.bit_length()  # 1024 .. 1


def _octave(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Returns periodic value noise [SIZE, SIZE] with `cells` lattice cells per side."""
    lattice = rng.standard_normal((cells, cells)).astype(np.float32)
    position = np.arange(SIZE, dtype=np.float32) * (cells / SIZE)
    low = position.astype(np.int64)
    weight, high = position - low, (low + 1) % cells
    weight = weight * weight * (3 - 2 * weight)
    rows = lattice[low] * (1 - weight)[:, None] + lattice[high] * weight[:, None]
    return rows[:, low] * (1 - weight) + rows[:, high] * weight


@functools.lru_cache(maxsize=1)
def _pyramid() -> tuple[np.ndarray, np.ndarray]:
    """Returns all levels, concatenated [sum of SIZE_l²], and the start of each [LEVELS]."""
    rng = np.random.default_rng(20230917)
    level = np.zeros((SIZE, SIZE), np.float32)
    for exponent in range(2, 10):  # wavelengths of 6.4 m down to 5 cm
        # Scales around 0.2-2 m weigh most: they remain visible at the distance of most pixels.
        level += _octave(rng, 2**exponent) * (1.0 if 3 <= exponent <= 7 else 0.7)
    levels = [np.clip(level / level.std(), -2.2, 2.2)]
    while (size := len(levels[-1])) > 1:
        levels.append(levels[-1].reshape(size // 2, 2, -1, 2).mean((1, 3)))
    levels[-1][:] = 0
    starts = np.cumsum([0] + [x.size for x in levels[:-1]])
    return np.concatenate([x.ravel() for x in levels]), starts


def sample(u: np.ndarray, v: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Samples noise of zero mean and (unfiltered) unit variance.

    Args:
      u, v: surface coordinates in metres [N].
      footprint: side of the pixel on the surface in metres [N]; finer detail is averaged out.

    Returns:
      [N] float32, interpolated within and between the levels of the pyramid.
    """
    texels, starts = _pyramid()
    level = np.clip(np.log2(footprint * (1 / TEXEL)), 0, LEVELS - 1.001)
    fine, result = level.astype(np.int32), None
    blend = level - fine
    for depth in (fine, fine + 1):
        size = SIZE >> depth
        scale = size * np.float32(1 / PERIOD)
        x, y = u * scale - 0.5, v * scale - 0.5
        left, top = np.floor(x), np.floor(y)
        fx, fy = x - left, y - top
        mask, start = size - 1, starts[depth]
        x0, y0 = left.astype(np.int32) & mask, top.astype(np.int32) & mask
        x1, y1 = (x0 + 1) & mask, (y0 + 1) & mask
        row0, row1 = start + y0 * size, start + y1 * size
        a, b = texels[row0 + x0], texels[row0 + x1]
        c, d = texels[row1 + x0], texels[row1 + x1]
        a += (b - a) * fx
        c += (d - c) * fx
        a += (c - a) * fy
        result = a if result is None else result + (a - result) * blend
    return result


def cell_hash(i: np.ndarray, j: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Hashes three integers to a uniform float32 in [0, 1), e.g. for one colour per window or brick."""
    h = i.astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1)
    h ^= j.astype(np.int32).view(np.uint32) * np.uint32(0x85EBCA77)
    h ^= k.astype(np.int32).view(np.uint32) * np.uint32(0xC2B2AE3D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(13)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def stripes(position: np.ndarray, cell: np.ndarray, fill: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Returns the antialiased coverage in [0, 1] of stripes that fill the middle `fill` of cells of length `cell`."""
    distance = np.abs(position / cell - np.floor(position / cell) - 0.5) * cell
    width = np.maximum(footprint, 1e-4)
    sharp = np.clip((0.5 * fill * cell - distance) / width + 0.5, 0, 1)
    # Of cells smaller than a pixel, only the mean remains.
    fade = np.clip(2 * width / cell - 0.5, 0, 1)
    return sharp + (fill - sharp) * fade
