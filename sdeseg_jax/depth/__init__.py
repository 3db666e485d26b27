"""Self-supervised depth estimation (Sec. 3.1): camera geometry, warping and the losses that need no labels."""

from sdeseg_jax.depth.camera import backproject, disparity_to_depth, project
from sdeseg_jax.depth.loss_terms import berhu, edge_aware_smoothness, feature_distance, mean_normalize
from sdeseg_jax.depth.photometric_error import dssim, photometric_error
from sdeseg_jax.depth.rigid_transforms import axisangle_to_rotation, invert_transform, pose_to_transform
from sdeseg_jax.depth.self_supervised_loss import SelfSupervisedDepthLoss, self_supervised_depth_loss
from sdeseg_jax.depth.supervised_loss import supervised_depth_loss
from sdeseg_jax.depth.warping import sample_bilinear, warp

__all__ = [
    "SelfSupervisedDepthLoss",
    "axisangle_to_rotation",
    "backproject",
    "berhu",
    "disparity_to_depth",
    "dssim",
    "edge_aware_smoothness",
    "feature_distance",
    "invert_transform",
    "mean_normalize",
    "photometric_error",
    "pose_to_transform",
    "project",
    "sample_bilinear",
    "self_supervised_depth_loss",
    "supervised_depth_loss",
    "warp",
]
