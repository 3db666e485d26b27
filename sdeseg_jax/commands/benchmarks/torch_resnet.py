"""A plain PyTorch ResNet-101, forward and backward: the FLOP/s that PyTorch reaches on the same machine."""

import importlib
import time

import jax
import jax.numpy as jnp

from sdeseg_jax.commands.benchmarks.printed_tables import milliseconds, number
from sdeseg_jax.commands.benchmarks.processes import missing_packages, run_in_process
from sdeseg_jax.commands.benchmarks.timing import lowered_flops, rate, spread
from sdeseg_jax.commands.benchmarks.training import config_of, resolve


def resnet_flops(batch: int, crop: tuple[int, int], backbone: str = "resnet101") -> float | None:
    """Returns the FLOPs of a ResNet's forward and backward pass at output stride 32; XLA counts them in our ResNet."""
    from sdeseg_jax.models.encoders.resnet import ResNet

    network = ResNet(backbone, output_stride=32)
    images = jax.ShapeDtypeStruct((batch, *crop, 3), jnp.float32)
    variables = jax.eval_shape(lambda images: network.init(jax.random.key(0), images, False), images)

    def loss(params, batch_stats, images):
        features, updates = network.apply(
            {"params": params, "batch_stats": batch_stats}, images, True, mutable=["batch_stats"]
        )
        return jnp.sum(features[-1]), updates

    gradient = jax.jit(jax.grad(loss, has_aux=True))
    return lowered_flops(gradient, variables["params"], variables["batch_stats"], images)


def measure(arguments) -> dict[int, dict]:
    """Times all batch sizes in a separate process, which has the device's memory to itself and then frees it.

    Call it before this process uses the device.

    Args:
      arguments: of the command line.

    Returns:
      batch size -> `seconds`, `flops`, `flops_per_second`, `device`, `version`; or `skipped`, the reason. {} without
      PyTorch.
    """
    if missing_packages(("torch", "torchvision")):
        return {}
    # That process also uses JAX, to resolve the size and count FLOPs.
    results = run_in_process("torch_resnet", vars(arguments), XLA_PYTHON_CLIENT_PREALLOCATE="false")
    return {int(batch): result for batch, result in results.items()}


def respond(arguments) -> dict[int, dict]:
    """Times all batch sizes in this process; see `measure`."""
    arguments = resolve(arguments)
    crop = tuple(config_of(arguments).data.crop)
    return {batch: measure_batch(batch, crop, arguments.dtype, arguments.rounds) for batch in arguments.batch}


def measure_batch(batch: int, crop: tuple[int, int], dtype: str, rounds: int) -> dict:
    """Times torchvision's ResNet-101 in train mode, channels last; bfloat16 by autocast.

    Args:
      batch, crop: of the images [batch, *crop, 3].
      dtype: "float32" or "bfloat16".
      rounds: number of forward and backward passes.
    """
    torch, torchvision = importlib.import_module("torch"), importlib.import_module("torchvision")
    if jax.default_backend() != "cpu" and not torch.cuda.is_available():
        return {"skipped": f"not compared, JAX runs on {jax.default_backend()} but this PyTorch only on the CPU"}
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    try:
        seconds = _time(torch, torchvision, device, batch, crop, dtype, rounds)
    except torch.cuda.OutOfMemoryError:
        return {"skipped": f"not compared, the device is out of memory at batch {batch}"}
    flops = resnet_flops(batch, crop)
    result = {"seconds": seconds, "flops": flops, "flops_per_second": rate(flops, seconds["median"])}
    return result | {"device": device, "version": torch.__version__}


def _time(torch, torchvision, device: str, batch: int, crop: tuple[int, int], dtype: str, rounds: int) -> dict:
    network = torchvision.models.resnet101(weights=None).to(device, memory_format=torch.channels_last).train()
    images = torch.rand(batch, 3, *crop, device=device).contiguous(memory_format=torch.channels_last)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as XLA does by default
    torch.backends.cudnn.benchmark = True

    def run() -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            out = network(images)
        out.float().sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()

    seconds = []
    for _ in range(rounds + 3):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return spread(seconds[3:])


def show(result: dict | None, step: dict) -> str:
    """Returns one or two lines.

    Args:
      result: from `measure`; None without PyTorch.
      step: `seconds` and `flops` of the step to compare with.
    """
    if result is None:
        return "PyTorch: not compared, torch and torchvision are not installed."
    if "skipped" in result:
        return f"PyTorch: {result['skipped']}."
    rates = result["flops_per_second"]
    lines = (
        f"PyTorch {result['version']} ({result['device']}): ResNet-101 forward + backward at this batch and crop, ms: "
        f"{milliseconds(result['seconds'])}; {number(result['flops'], 1e9)} GFLOP, {number(rates, 1e9)} GFLOP/s."
    )
    if rates and step["flops"]:
        equal, ours = step["flops"] / rates, step["seconds"]["median"]
        lines += (
            f"\nPyTorch at equal FLOPs: the step would take {1000 * equal:,.1f} ms, {equal / ours:.2f}x of the "
            f"{1000 * ours:,.1f} ms measured here."
        )
    return lines
