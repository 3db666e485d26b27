"""The one table of settings: key -> what is known of it. Defaults, validation, help and reference page come from it."""

from sdeseg_jax.config.data_settings import DATA, SOURCE, VIDEO
from sdeseg_jax.config.depth_settings import DEPTH, ESTIMATE, INIT, MODEL
from sdeseg_jax.config.run_settings import EVALUATION, EXPORT, GENERAL, PIPELINE, PREDICT, RUNTIME
from sdeseg_jax.config.segmentation_settings import BASELINE, SEGMENTATION, SELECTION

_SECTIONS = (
    GENERAL, RUNTIME, DATA, VIDEO, SOURCE, MODEL, INIT, DEPTH, ESTIMATE, SELECTION, SEGMENTATION, BASELINE, EVALUATION,
    PREDICT, EXPORT, PIPELINE,
)  # fmt: skip

SETTINGS = {one.key: one for section in _SECTIONS for one in section}
"""Every setting by its key."""

BUILDER_OPTIONS = tuple(key for key, one in SETTINGS.items() if one.holds_options)
"""Sections of options that the dataset's builder checks."""
