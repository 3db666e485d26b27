"""Semi-supervised and domain-adaptive semantic segmentation with self-supervised depth estimation, in JAX/Flax."""

__version__ = "0.1.0"
