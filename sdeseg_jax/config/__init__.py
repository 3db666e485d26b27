"""Settings: what they are, what follows from them, whether they are right, and what --help says of them."""

from sdeseg_jax.config.all_settings import BUILDER_OPTIONS, SETTINGS
from sdeseg_jax.config.data_settings import DATASETS
from sdeseg_jax.config.default_config import default_config, flatten, to_json
from sdeseg_jax.config.derived import (
    baseline_config,
    mixes_by_stored_disparity,
    needs_disparity,
    needs_source_disparity,
    source_config,
    source_keys,
    uses_matching,
    uses_pool,
    uses_source,
)
from sdeseg_jax.config.errors import ConfigError, UserError
from sdeseg_jax.config.stage_names import OPTIONAL_STAGES, STAGES
from sdeseg_jax.config.validation import unknown_keys, validate

__all__ = [
    "BUILDER_OPTIONS",
    "DATASETS",
    "OPTIONAL_STAGES",
    "SETTINGS",
    "STAGES",
    "ConfigError",
    "UserError",
    "baseline_config",
    "default_config",
    "flatten",
    "mixes_by_stored_disparity",
    "needs_disparity",
    "needs_source_disparity",
    "source_config",
    "source_keys",
    "to_json",
    "unknown_keys",
    "uses_matching",
    "uses_pool",
    "uses_source",
    "validate",
]
