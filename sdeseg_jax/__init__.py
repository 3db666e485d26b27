"""Semi-supervised and domain-adaptive semantic segmentation with self-supervised depth estimation, in JAX/Flax."""

__version__ = "0.1.0"


def load(path, settings=None):
    """Loads a trained or exported network; see `sdeseg_jax.inference.load_predictor.load`."""
    from sdeseg_jax.inference import load_predictor  # imports JAX, which the command line's help does without

    return load_predictor.load(path, settings)
