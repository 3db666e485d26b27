"""Mixing and semi-supervised learning (Sec. 3.4): DepthMix, its rivals, augmentation, mean teacher, pseudo-labels."""

from sdeseg_jax.mixing.augmentation import color_jitter, gaussian_blur, strong_augmentation
from sdeseg_jax.mixing.classmix import classmix_mask
from sdeseg_jax.mixing.cutmix import cutmix_mask
from sdeseg_jax.mixing.depthmix import DepthMixed, depthmix, depthmix_mask, normalize_disparity
from sdeseg_jax.mixing.mean_teacher import ema_decay, update_teacher
from sdeseg_jax.mixing.paste_by_mask import mix, next_sample
from sdeseg_jax.mixing.pseudo_labels import pseudo_labels, quality, with_ground_truth
from sdeseg_jax.mixing.segmentation_cross_entropy import supervised_cross_entropy, weighted_cross_entropy

__all__ = [
    "DepthMixed",
    "classmix_mask",
    "color_jitter",
    "cutmix_mask",
    "depthmix",
    "depthmix_mask",
    "ema_decay",
    "gaussian_blur",
    "mix",
    "next_sample",
    "normalize_disparity",
    "pseudo_labels",
    "quality",
    "strong_augmentation",
    "supervised_cross_entropy",
    "update_teacher",
    "weighted_cross_entropy",
    "with_ground_truth",
]
