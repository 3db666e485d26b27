"""Semi-supervised domain adaptation (Sec. 3.5): cross-domain mixing, and matching source to target by geometry."""

from sdeseg_jax.adaptation.cross_domain_depthmix import cross_domain_mask, cross_domain_mix
from sdeseg_jax.adaptation.geometry_matching import counted_rows, geometric_difference, log_disparity

__all__ = ["counted_rows", "cross_domain_mask", "cross_domain_mix", "geometric_difference", "log_disparity"]
