"""Evaluation of the depth network: against true depth, against true ego-motion, and by its photometric error."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.depth.camera import disparity_to_depth
from sdeseg_jax.depth.photometric_error import minimum_reprojection, photometric_error
from sdeseg_jax.depth.rigid_transforms import pose_to_transform
from sdeseg_jax.depth.warping import warp
from sdeseg_jax.evaluation.depth_metrics import depth_errors, depth_scores, mean_scores, pixel_priors
from sdeseg_jax.evaluation.ego_motion_metrics import (
    ego_motion_scores,
    relative_transform,
    split_into_clips,
    straight_ahead,
    trajectory_scores,
)
from sdeseg_jax.jobs.estimate_depth import predict_disparity
from sdeseg_jax.runs import build_networks
from sdeseg_jax.training.initialization import load_variables
from sdeseg_jax.training.replication import replicate_inference, round_up

PRIOR_FRAMES = 400
"""Training frames that the depth priors are averaged over."""


def predicted_and_true_depth(config, dataset: FrameDataset, predict, variables) -> Iterator[tuple]:
    """Yields (depth up to scale, true depth in metres), [H, W] each, for every target frame of a split.

    Args:
      predict: from `predict_disparity`.
    """
    batch_size = round_up(config.evaluation.batch_size)
    for batch, count in evaluation_batches(dataset, dataset.index.targets, batch_size, ("image", "depth")):
        disparity = predict(variables, batch["image"])[:count, ..., 0]
        depth = np.asarray(disparity_to_depth(disparity, config.depth.min_depth, config.depth.max_depth))
        yield from zip(depth, batch["depth"][:count, ..., 0], strict=True)


def score_depth(config, dataset: FrameDataset, predict, variables) -> dict[str, float]:
    """Scores the depth network without priors, for evaluations during training."""
    pairs = predicted_and_true_depth(config, dataset, predict, variables)
    return depth_scores(pairs, config.evaluation.depth_cap).to_json()


def compare_with_priors(config, dataset: FrameDataset, training: FrameDataset, folder) -> dict[str, float]:
    """Scores the depth network against true depth, beside the per-pixel priors of the training frames.

    Args:
      dataset, training: evaluation and training split, with true depth and images of one size.
      folder: of the depth network's checkpoints.

    Returns:
      The metrics, and those of the priors: `prior_abs_rel` is the better of mean and median, `priors` has all.
    """
    variables, cap = load_variables(folder), config.evaluation.depth_cap
    predict = predict_disparity(build_networks.depth_network(config))
    targets = training.index.targets
    known = evaluation_batches(training, targets[:: max(1, len(targets) // PRIOR_FRAMES)], 16, ("depth",))
    priors = pixel_priors((one[..., 0] for batch, count in known for one in batch["depth"][:count]), cap)

    errors = {name: [] for name in ("network", *priors)}
    for prediction, truth in predicted_and_true_depth(config, dataset, predict, variables):
        errors["network"].append(depth_errors(prediction, truth, cap))
        for name, prior in priors.items():
            errors[name].append(depth_errors(prior, truth, cap))
    result = {name: mean_scores(one, cap).to_json() for name, one in errors.items()}
    return result.pop("network") | {
        "prior_abs_rel": min(prior["abs_rel"] for prior in result.values()),
        "priors": result,
        "protocol": f"median scaling per image, cap {cap:g} m",
    }


VIDEO = ("image", "prev_image", "next_image", "intrinsics")


def predict_reprojection(config, network, maps: bool = False):
    """Function of (variables, batch with `VIDEO`) -> photometric errors and ego-motion, on all devices.

    It returns a dict: `warped` and `identity` [B], the mean photometric error of the better neighbour with and without
    warping; `transforms` [B, 2, 4, 4], target -> previous, next. With `maps`, for pictures, the errors are per pixel,
    [B, H, W], and `disparity` [B, H, W] is added.
    """

    def function(variables, batch):
        target, neighbours = batch["image"], jnp.stack([batch["prev_image"], batch["next_image"]])
        disparity = network.apply(variables, target, train=False).disparities[0]
        depth = disparity_to_depth(disparity, config.depth.min_depth, config.depth.max_depth)

        def pose(first, second, invert):
            predicted = network.apply(variables, first, second, train=False, method="predict_pose")
            return pose_to_transform(predicted.axisangle, predicted.translation, invert)

        transforms = jnp.stack([pose(neighbours[0], target, True), pose(target, neighbours[1], False)])
        warped = jnp.stack(
            [warp(one, depth, move, batch["intrinsics"]) for one, move in zip(neighbours, transforms, strict=True)]
        )
        errors = [minimum_reprojection(photometric_error(views, target))[0] for views in (warped, neighbours)]
        outputs = dict(zip(("warped", "identity"), errors, strict=True))
        if maps:
            outputs["disparity"] = disparity[..., 0]
        else:
            outputs = {name: jnp.mean(error, axis=(1, 2)) for name, error in outputs.items()}
        return outputs | {"transforms": jnp.swapaxes(transforms, 0, 1)}

    return replicate_inference(function)


def score_video(config, dataset: FrameDataset, folder) -> dict:
    """Scores how well the depth network explains video that it was not trained on.

    Args:
      dataset: with frames that have both neighbours.
      folder: of the depth network's checkpoints.

    Returns:
      `photometric`, the mean over frames of the error of the better neighbour after warping; `identity`, the same
      without warping, as good as a network that has learned nothing; `frames`, their number. If the dataset has
      poses, `ego_motion` (see `EgoMotionScores`) and, if clips are long enough, `trajectory` (see `TrajectoryScores`),
      whose `straight_ahead` has the same scores for driving straight ahead at constant speed.
    """
    variables = load_variables(folder)
    predict = predict_reprojection(config, build_networks.depth_network(config))
    frames, parts = dataset.index.with_neighbours, []
    for batch, count in evaluation_batches(dataset, frames, round_up(config.evaluation.batch_size), VIDEO):
        outputs = predict(variables, {name: batch[name] for name in VIDEO})
        parts.append({name: value[:count] for name, value in outputs.items()})
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    photometric, identity = (float(np.mean(outputs[name])) for name in ("warped", "identity"))
    result = {"photometric": photometric, "identity": identity, "frames": len(frames)}
    if "pose" in dataset.fields:
        everything = evaluation_batches(dataset, range(len(dataset.index)), 64, ("pose",))
        poses = np.concatenate([batch["pose"][:count] for batch, count in everything])
        true = np.stack([[relative_transform(poses[i], poses[i + step]) for step in (-1, 1)] for i in frames])
        if np.isfinite(true).all():
            result |= score_motion(frames, outputs["transforms"], true)
    return result


def score_motion(frames: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> dict[str, dict]:
    """Returns `ego_motion` and `trajectory` of `score_video`.

    Args:
      frames: indices [F] of the target frames.
      predicted, true: [F, 2, 4, 4], target camera -> previous, next.
    """
    pairs = zip(predicted.reshape(-1, 4, 4), true.reshape(-1, 4, 4), strict=True)
    result = {"ego_motion": ego_motion_scores(pairs).to_json()}
    ways = split_into_clips(frames, true)
    if scores := trajectory_scores(list(zip(split_into_clips(frames, predicted), ways, strict=True))):
        prior = trajectory_scores([(straight_ahead(len(way)), way) for way in ways])
        result["trajectory"] = scores.to_json() | {"straight_ahead": prior.to_json()}
    return result
