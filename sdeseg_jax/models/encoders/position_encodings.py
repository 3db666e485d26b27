"""Where a Vision Transformer's tokens are in the image: resized learned embeddings, and rotary encodings."""

import jax
import jax.numpy as jnp
import numpy as np


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Cubic convolution kernel of Keys (1981), zero from distance 2 on."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def bicubic_matrix(source: int, target: int, antialias: bool = False) -> np.ndarray:
    """Returns the weights [target, source] of bicubic interpolation along an axis, as PyTorch computes it.

    Without antialiasing, samples beyond the border repeat the last one. With it, the kernel is as wide as the target's
    pixels, and its weights within the border are scaled to sum to one; PyTorch then uses another kernel, too.
    """
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    if antialias:
        width = max(scale, 1.0)
        weights = _cubic((np.arange(source)[None] - centres[:, None]) / width, -0.5)
        return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    weights, first = np.zeros((target, source)), np.floor(centres).astype(int)
    for offset in range(-1, 3):
        position = first + offset
        kernel = _cubic(position - centres, -0.75)
        np.add.at(weights, (np.arange(target), np.clip(position, 0, source - 1)), kernel)
    return weights.astype(np.float32)


def resize_positions(positions: jax.Array, grid: tuple[int, int], antialias: bool) -> jax.Array:
    """Returns learned embeddings of a grid of another size, [h * w, C] float32.

    Args:
      positions: of a square grid, row by row, [n * n, C].
      grid: rows and columns (h, w) of the tokens.
      antialias: DINOv2's networks with registers were trained with it, those without registers without.
    """
    side = round(len(positions) ** 0.5)
    if grid == (side, side):
        return positions
    square = positions.reshape(side, side, -1).astype(jnp.float32)
    rows, columns = (jnp.asarray(bicubic_matrix(side, size, antialias)) for size in grid)
    resized = jnp.einsum("yh,xw,hwc->yxc", rows, columns, square, precision=jax.lax.Precision.HIGHEST)
    return resized.reshape(grid[0] * grid[1], -1)


def rotations(grid: tuple[int, int], channels: int, base: float = 100.0) -> np.ndarray:
    """Returns cosines and sines of DINOv3's rotary encoding (Siméoni et al. 2025), [2, h * w, channels / 2].

    The first half of the angles follows a token's vertical place in the image, from -1 to 1, the other half its
    horizontal one.

    Args:
      grid: rows and columns (h, w) of the tokens.
      channels: of an attention head, a multiple of 4.
    """
    places = [2 * (np.arange(size) + 0.5) / size - 1 for size in grid]
    y, x = (one.ravel() for one in np.meshgrid(*places, indexing="ij"))
    frequencies = 2 * np.pi / base ** (np.arange(channels // 4) / (channels // 4))
    angles = np.concatenate([y[:, None] * frequencies, x[:, None] * frequencies], 1)
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def rotate(x: jax.Array, rotation: jax.Array) -> jax.Array:
    """Rotates pairs of channels, the n-th with the n-th of the second half: [B, T, heads, C] and [2, T, C / 2]."""
    cosine, sine = jnp.asarray(rotation, x.dtype)[:, :, None]
    half = x.shape[-1] // 2
    first, second = (jax.lax.slice_in_dim(x, start, start + half, axis=-1) for start in (0, half))
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
