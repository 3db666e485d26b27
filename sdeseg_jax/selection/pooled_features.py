"""Features for data selection: block 3 of the depth decoder, pooled and normalised over the dataset (Sec. 3.2)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


def _pooling_matrix(source: int, target: int) -> np.ndarray:
    """Returns weights [target, source] of averages over cells that may overlap, as in PyTorch's adaptive pooling."""
    weights = np.zeros((target, source), np.float32)
    for cell in range(target):
        start, stop = cell * source // target, -(-(cell + 1) * source // target)
        weights[cell, start:stop] = 1 / (stop - start)
    return weights


def pool_features(features: jax.Array, size: tuple[int, int] = (4, 8)) -> jax.Array:
    """Averages feature maps [B, H, W, C] over the cells of a grid of `size` (rows, columns); float32 [B, *size, C]."""
    rows, columns = (jnp.asarray(_pooling_matrix(*sides)) for sides in zip(features.shape[1:3], size, strict=True))
    features = features.astype(jnp.float32)
    features = jnp.einsum("yh,bhwc->bywc", rows, features, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("xw,bywc->byxc", columns, features, precision=jax.lax.Precision.HIGHEST)


@dataclasses.dataclass
class ChannelStatistics:
    """Mean and standard deviation per channel over frames and cells, accumulated batch by batch in float64.

    Attributes:
      count: values per channel so far.
      total, squares: [C], sums of the values and of their squares.
    """

    count: int = 0
    total: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0

    def add(self, features: np.ndarray) -> None:
        """Adds a batch [..., C]."""
        rows = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
        self.count += len(rows)
        self.total = self.total + rows.sum(0)
        self.squares = self.squares + (rows**2).sum(0)

    @property
    def mean(self) -> np.ndarray:
        """Mean per channel, [C]."""
        return self.total / self.count

    @property
    def deviation(self) -> np.ndarray:
        """Sample standard deviation per channel, [C]."""
        variance = (self.squares - self.count * self.mean**2) / max(self.count - 1, 1)
        # The variance of a constant channel is rounding error, which must not be scaled up to a feature.
        noise = 1e-12 * self.squares / self.count
        return np.sqrt(np.where(variance > noise, variance, 0.0))

    def normalize(self, features: np.ndarray) -> np.ndarray:
        """Normalises [..., C] to mean 0 and deviation 1 per channel, float32; constant channels become 0."""
        deviation = self.deviation
        scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
        return ((features - self.mean) * scale).astype(np.float32)


SAMPLE = 1000
"""Number of frames from which principal components are computed."""


def principal_components(features: np.ndarray, count: int, seed: int, chunk: int = 256) -> np.ndarray:
    """Projects features onto their first principal components, for pictures of the feature space.

    Args:
      features: [N, D]; may be a memory-mapped file.
      count: of components.
      seed: of the sample from which they are computed.
      chunk: number of frames projected at once.

    Returns:
      float32 [N, count]; zeros along components that do not exist.
    """
    chosen = np.sort(np.random.default_rng([seed, 23]).permutation(len(features))[:SAMPLE])
    sample = features[chosen].astype(np.float32)
    mean = sample.mean(0)
    sample -= mean
    # The Gram matrix of the sample is small; the covariance of the features, D x D, would not be.
    values, vectors = np.linalg.eigh(sample @ sample.T)
    axes = np.zeros((count, features.shape[1]), np.float32)
    for i, (value, vector) in enumerate(list(zip(values, vectors.T, strict=True))[::-1][:count]):
        if value > 1e-9 * max(values[-1], 1e-30) and value > 0:
            axes[i] = vector @ sample / np.sqrt(value)
    starts = range(0, len(features), chunk)
    return np.concatenate([(features[i : i + chunk].astype(np.float32) - mean) @ axes.T for i in starts])
