"""EfficientNet-Lite0, forward and backward, next to XLA's depthwise convolutions and to PyTorch's network."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.commands.benchmarks.printed_tables import milliseconds, table
from sdeseg_jax.commands.benchmarks.processes import missing_packages
from sdeseg_jax.commands.benchmarks.timing import time_in_turns
from sdeseg_jax.models.encoders import make_encoder
from sdeseg_jax.models.layers import keep_convolutions

CROP = (256, 320)
OURS, LIBRARY, PYTORCH = "this project", "XLA's depthwise convolution", "PyTorch"


def measure(arguments) -> dict:
    """Times `arguments.batch[0]` (2) images of 256x320, in turns.

    Returns:
      `environment`; `seconds`: name -> spread, of PyTorch only where torch and efficientnet-lite-pytorch are installed.
    """
    batch = arguments.batch[0] if arguments.batch else 2
    images = np.random.default_rng(0).random((batch, *CROP, 3), np.float32)
    ours, library = _gradient(images), _gradient(images, keep_convolutions)
    calls = {OURS: ours, LIBRARY: library}
    if jax.default_backend() == "cpu" and not missing_packages(("torch", "efficientnet_lite_pytorch")):
        calls[PYTORCH] = _pytorch(images)
    environment = {"batch": batch, "crop": CROP, "platform": jax.default_backend(), "jax": jax.__version__}
    return {"environment": environment, "seconds": time_in_turns(calls, arguments.rounds)}


def _gradient(images, context=None):
    """Returns a call that computes the gradient of all weights, from random ones."""
    encoder, images = make_encoder("efficientnet_lite0", output_stride=32), jnp.asarray(images)
    variables = jax.jit(lambda x: encoder.init(jax.random.key(0), x, False))(images)

    def loss(params, batch_stats):
        variables = {"params": params, "batch_stats": batch_stats}
        features, updates = encoder.apply(variables, images, True, mutable=["batch_stats"])
        return sum(jnp.mean(one**2) for one in features), updates

    # A context changes what is traced: a function of its own for each.
    function = jax.jit(jax.grad(lambda *variables: loss(*variables), has_aux=True))
    arguments = variables["params"], variables["batch_stats"]
    if context is None:
        compiled = function.lower(*arguments).compile()
    else:
        with context():
            compiled = function.lower(*arguments).compile()
    return lambda: compiled(*arguments)


def _pytorch(images):
    torch, port = importlib.import_module("torch"), importlib.import_module("efficientnet_lite_pytorch")
    network = port.EfficientNet.from_name("efficientnet-lite0").train()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)

    def call():
        network.zero_grad()
        (network.extract_features(pixels) ** 2).mean().backward()
        return ()

    return call


def show(result: dict) -> str:
    """Returns the table."""
    environment, seconds = result["environment"], result["seconds"]
    height, width = environment["crop"]
    ours = seconds[OURS]["median"]
    rows = [[name, milliseconds(one), f"{one['median'] / ours:.2f}"] for name, one in seconds.items()]
    title = (
        f"EfficientNet-Lite0, forward + backward: {environment['batch']} images of {height}x{width}, float32, "
        f"{environment['platform']}, JAX {environment['jax']}"
    )
    return "\n".join([title, *table(("", "ms (p10..p90)", "times ours"), rows)])
