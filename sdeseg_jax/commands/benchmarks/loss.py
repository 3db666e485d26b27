"""The self-supervised depth loss (four scales, two source frames, automask), forward and backward, next to a naive one.

Gradients are taken with respect to disparities and transforms. Always float32, whatever the networks' dtype.
"""

import jax

from sdeseg_jax.commands.benchmarks import naive, rivals
from sdeseg_jax.commands.benchmarks.printed_tables import heading
from sdeseg_jax.commands.benchmarks.synthetic import make_views
from sdeseg_jax.depth.self_supervised_loss import SelfSupervisedDepthLoss, self_supervised_depth_loss

TOLERANCE = 1e-4
"""Largest relative difference of the losses."""


def measure(arguments) -> dict:
    """Measures all batch sizes.

    Returns:
      `environment` and `runs`: `batch`, `forward + backward` (see `rivals.compare`), `losses` by `rivals.NAMES` and
      `gradient_difference` (relative, over all gradients).
    """
    return rivals.measure_batches(arguments, measure_batch)


def measure_batch(batch: int, crop: tuple[int, int], rounds: int) -> dict:
    """Measures the loss of `batch` images [*crop, 3].

    Raises:
      RuntimeError: the two versions disagree.
    """
    views, settings = make_views(crop, batch), SelfSupervisedDepthLoss()
    names = "disparities", "transforms", "target", "sources", "intrinsics", "noise"
    functions = {
        "ours": lambda *inputs: self_supervised_depth_loss(settings, *inputs).loss,
        "naive": lambda *inputs: naive.depth_loss(settings, *inputs),
    }
    gradients = {name: jax.value_and_grad(function, argnums=(0, 1)) for name, function in functions.items()}
    facts, results = rivals.compare(gradients, tuple(views[name] for name in names), rounds)
    losses = {name: float(result[0]) for name, result in results.items()}
    if not abs(losses["ours"] - losses["naive"]) <= TOLERANCE * abs(losses["naive"]):
        raise RuntimeError(f"the two versions of the depth loss differ: {losses}")
    return {
        "batch": batch,
        "forward + backward": facts,
        "losses": losses,
        "gradient_difference": rivals.relative_difference(results["ours"][1], results["naive"][1]),
    }


def show(result: dict) -> str:
    """Returns the tables."""
    lines = [heading("depth loss, 4 scales, 2 source frames, automask", result["environment"])]
    for run in result["runs"]:
        ours, naive_loss = (run["losses"][name] for name in rivals.NAMES)
        ratio = run["forward + backward"]["ratio"]
        lines += [
            "",
            f"batch {run['batch']}",
            *rivals.show({"forward + backward": run["forward + backward"]}),
            f"{ratio:.2f} times as fast as the naive loss. GFLOP and GB of ours cover one image of eight: XLA counts "
            "the body of a loop once.",
            f"Losses {ours:.6f} and {naive_loss:.6f}; gradients differ by {run['gradient_difference']:.1e} of their "
            "norm.",
        ]
    return "\n".join(lines)
