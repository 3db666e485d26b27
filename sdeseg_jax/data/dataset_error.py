"""The error of datasets that are unknown, not prepared or damaged."""

from sdeseg_jax.config import ConfigError


class DatasetError(ConfigError):
    """A dataset is unknown, not prepared, or its options are wrong; the message says what to do."""
