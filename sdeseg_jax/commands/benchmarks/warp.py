"""Warping source frames into the target view, next to `jax.scipy.ndimage.map_coordinates`; forward and backward.

Always float32, whatever the networks' dtype.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.commands.benchmarks import naive, rivals
from sdeseg_jax.commands.benchmarks.printed_tables import heading
from sdeseg_jax.commands.benchmarks.synthetic import make_views
from sdeseg_jax.depth.camera import disparity_to_depth
from sdeseg_jax.depth.warping import warp

TOLERANCE = 1e-3
"""Largest difference of warped images in [0, 1]: in float32, coordinates of a few hundred pixels are off by 1e-5."""


def measure(arguments) -> dict:
    """Measures all batch sizes.

    Returns:
      `environment` and `runs`: `batch`, `forward` and `forward + backward` (see `rivals.compare`), `difference` (the
      largest of the warped images) and `gradient_difference` (relative, over depth and transform together).
    """
    return rivals.measure_batches(arguments, measure_batch)


def measure_batch(batch: int, crop: tuple[int, int], rounds: int) -> dict:
    """Warps `batch` images [*crop, 3].

    Raises:
      RuntimeError: the two versions disagree.
    """
    views = make_views(crop, batch, scales=1)
    depth = np.asarray(disparity_to_depth(views["disparities"][0]))
    inputs = views["sources"][0], depth, views["transforms"][0], views["intrinsics"]
    functions = {"ours": warp, "naive": naive.warp}
    forward, results = rivals.compare(functions, inputs, rounds)
    difference = float(np.abs(results["ours"] - results["naive"]).max())
    if not difference < TOLERANCE:
        raise RuntimeError(f"the two versions of warp differ by up to {difference:.2g}, more than {TOLERANCE}")
    both, gradients = rivals.compare(
        {name: _gradient(function) for name, function in functions.items()}, (*inputs, views["target"]), rounds
    )
    return {
        "batch": batch,
        "forward": forward,
        "forward + backward": both,
        "difference": difference,
        "gradient_difference": rivals.relative_difference(gradients["ours"], gradients["naive"]),
    }


def _gradient(function):
    """Returns the function that computes the weighted sum of warped images and its gradient by depth and transform."""

    def gradient(source, depth, transform, intrinsics, weights):
        def loss(depth, transform):
            return jnp.sum(function(source, depth, transform, intrinsics) * weights)

        return jax.value_and_grad(loss, argnums=(0, 1))(depth, transform)

    return gradient


def show(result: dict) -> str:
    """Returns the tables."""
    lines = [heading("warp", result["environment"])]
    for run in result["runs"]:
        lines += [
            "",
            f"batch {run['batch']}",
            *rivals.show({what: run[what] for what in ("forward", "forward + backward")}),
            f"Warped images differ by {run['difference']:.1e} at most, "
            f"gradients by {run['gradient_difference']:.1e} of their norm.",
        ]
    return "\n".join(lines)
