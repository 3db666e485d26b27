"""A plain PyTorch ResNet-101, forward and backward, for the FLOP/s that PyTorch gets out of the same machine."""

import importlib
import time

import jax
import jax.numpy as jnp

from benchmarks.processes import absent, run_in_process
from benchmarks.tables import milliseconds, number, rate
from benchmarks.timing import lowered_flops, spread
from benchmarks.training import config_of, resolve


def resnet_flops(batch: int, crop: tuple[int, int], backbone: str = "resnet101") -> float | None:
    """FLOPs of a ResNet's forward and backward pass at output stride 32, counted by XLA in this package's own."""
    from sdeseg_jax.models.resnet import ResNet

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
    """Times all batch sizes in a process of its own, which has the device's memory to itself and then gives it back.

    To be called before this process uses the device.

    Args:
      arguments: the command line's.

    Returns:
      batch size -> `seconds`, `flops`, `flops_per_second`, `device`, `version`; or `skipped`: the reason. Without
      PyTorch, no batch size.
    """
    if absent(("torch", "torchvision")):
        return {}
    # JAX is there to tell the size and count FLOPs.
    results = run_in_process("torch_resnet", vars(arguments), XLA_PYTHON_CLIENT_PREALLOCATE="false")
    return {int(batch): result for batch, result in results.items()}


def respond(arguments) -> dict[int, dict]:
    """What `measure` asks for."""
    arguments = resolve(arguments)
    crop = tuple(config_of(arguments).data.crop)
    return {batch: measure_batch(batch, crop, arguments.dtype, arguments.rounds) for batch in arguments.batch}


def measure_batch(batch: int, crop: tuple[int, int], dtype: str, rounds: int) -> dict:
    """Times torchvision's ResNet-101 in train mode, channels last; bfloat16 by autocast.

    Args:
      batch, crop: of the images [batch, *crop, 3].
      dtype: "float32" or "bfloat16".
      rounds: one pass forward and backward each.
    """
    torch, torchvision = importlib.import_module("torch"), importlib.import_module("torchvision")
    if jax.default_backend() != "cpu" and not torch.cuda.is_available():
        return {"skipped": f"no comparison: JAX runs on {jax.default_backend()}, this PyTorch on the CPU only"}
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    try:
        seconds = _time(torch, torchvision, device, batch, crop, dtype, rounds)
    except torch.cuda.OutOfMemoryError:
        return {"skipped": f"no comparison: the device has too little memory for a batch of {batch}"}
    flops = resnet_flops(batch, crop)
    return {
        "seconds": seconds,
        "flops": flops,
        "flops_per_second": rate(flops, seconds["median"]),
        "device": device,
        "version": torch.__version__,
    }


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
    """A line or two.

    Args:
      result: of `measure`; None where there is no PyTorch.
      step: `seconds` and `flops` of the step to compare with.
    """
    if result is None:
        return "PyTorch: not installed here (torch, torchvision), not compared."
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
            f"\nPyTorch at equal FLOPs: the step's would take it {1000 * equal:,.1f} ms, "
            f"{equal / ours:.2f}x of the {1000 * ours:,.1f} ms measured here."
        )
    return lines
