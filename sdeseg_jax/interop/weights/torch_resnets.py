"""torchvision's ResNets as state dicts: keys and shapes, and how networks that look like them differ."""

import collections
import re
from collections.abc import Iterable, Mapping

import numpy as np

from sdeseg_jax.models.encoders.resnet import RESNETS

_LISTED = 4
"""Most keys of one kind that a message lists."""
_FLOATS = ("float32", "float16", "bfloat16", "float64")

# (Pattern of a key, what a network with such a key has); the first match is told.
_OTHER_NETWORKS = (
    (r"\.(se|se_module|eca)\.", "channel attention: squeeze-and-excitation modules (SE-ResNet) or ECA"),
    (r"\.filt$", "anti-aliased downsampling (BlurPool)"),
    (r"\.(IN|BN)\.", "instance norms (IBN-Net)"),
    (r"\.convs\.\d", "groups of convolutions in a block (Res2Net)"),
    (r"(^|\.)gn\d\.", "group norms"),
    (r"^attnpool\.", "the stem and pooling of CLIP"),
    (r"^(conv1\.\d+|stem\.\d+|layer0)\.", "a deep stem of several convolutions (ResNet-C or D)"),
    (r"\.downsample\.2\.", "an average pooling on the shortcut (ResNet-D)"),
    (r"^embedder\.", "the keys of transformers' ResNetModel. Use timm's or torchvision's file of the same network"),
)

# (Pattern of a name, what such a network does although its keys and shapes are torchvision's).
_SAME_KEYS = (
    (r"caffe|msra", "expects BGR images from 0 to 255, and has its strides in other convolutions"),
    (r"blur|resnetaa|antialias", "has anti-aliased downsampling"),
)


def is_counter(key: str) -> bool:
    """Whether a key is BatchNorm's count of steps, which no network here uses."""
    return key.endswith("num_batches_tracked")


def shown(key: object) -> str:
    """Returns a key of a file for a message: quoted, without characters that a terminal obeys, not too long."""
    text = repr(key)
    return text if len(text) <= 120 else text[:117] + "…'"


def list_keys(keys: Iterable[str]) -> str:
    """Returns the first few keys, and how many there are beside them."""
    keys = list(keys)
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(map(shown, keys[:_LISTED])) + more


def suspicions(names: Iterable[str]) -> list[str]:
    """Returns a warning for each name, of a file or an architecture, of a network with torchvision's keys that is not.

    Such networks work differently from what their keys say, so only a name can tell.
    """
    return [
        f"Warning: the name {shown(name)} is that of a network that {words}, which its keys do not show. Networks here "
        "do not; results may be worse than with torchvision's weights."
        for name in dict.fromkeys(names)
        for pattern, words in _SAME_KEYS
        if re.search(pattern, name.lower())
    ]


def find_backbone(keys: Iterable[str], prefix: str = "") -> str | None:
    """Returns the name of the ResNet whose blocks are among the keys; None if there are no blocks.

    Raises:
      ValueError: no known ResNet has these numbers of blocks.
    """
    keys = set(keys)
    pattern = re.compile(re.escape(prefix) + r"layer(\d)\.(\d{1,3})\.")
    blocks = {match.groups() for key in keys if (match := pattern.match(key))}
    if not blocks:
        return None
    stages = collections.Counter(stage for stage, _ in blocks)
    counts = tuple(stages[stage] for stage in "1234")
    bottleneck = f"{prefix}layer1.0.conv3.weight" in keys
    for name, known in RESNETS.items():
        if known == (counts, bottleneck):
            return name
    kind = "bottleneck" if bottleneck else "basic"
    raise ValueError(f"no known ResNet has {counts} {kind} blocks; known: {', '.join(RESNETS)}")


def resnet_shapes(name: str, channels: int = 3) -> dict[str, tuple[int, ...]]:
    """Returns key → shape of one of torchvision's ResNets, without classifier and counters.

    Args:
      name: key of `RESNETS`.
      channels: of the input; 6 for two frames.
    """
    counts, bottleneck = RESNETS[name]
    shapes: dict[str, tuple[int, ...]] = {}

    def add(conv: str, norm: str, kernel: tuple[int, ...]) -> None:
        shapes[f"{conv}.weight"] = kernel
        shapes.update({f"{norm}.{leaf}": kernel[:1] for leaf in ("weight", "bias", "running_mean", "running_var")})

    add("conv1", "bn1", (64, channels, 7, 7))
    before = 64
    for stage, count in enumerate(counts):
        width = 64 << stage
        after = 4 * width if bottleneck else width
        for block in range(count):
            path = f"layer{stage + 1}.{block}"
            kernels = [(width, before, 3, 3), (width, width, 3, 3)]
            if bottleneck:
                kernels = [(width, before, 1, 1), (width, width, 3, 3), (after, width, 1, 1)]
            for number, kernel in enumerate(kernels, start=1):
                add(f"{path}.conv{number}", f"{path}.bn{number}", kernel)
            if before != after:
                add(f"{path}.downsample.0", f"{path}.downsample.1", (after, before, 1, 1))
            before = after
    return shapes


def check_resnet(state: Mapping[str, np.ndarray], channels: int = 3, prefix: str = "") -> str:
    """Returns which ResNet a state dict is, after comparing every key, shape and dtype.

    Args:
      state: keys as torchvision's, without classifier; counters may be there.
      channels: of the input.
      prefix: of the keys in the file, for messages.

    Raises:
      ValueError: it is another network; the message says in which respect, and lists keys. Or numbers are not finite.
    """
    name = find_backbone(state)
    other = next((words for pattern, words in _OTHER_NETWORKS if any(re.search(pattern, key) for key in state)), None)
    if name is None:
        what = f": the network has {other}" if other else f". The first keys are {list_keys(state)}"
        raise ValueError(f"no blocks of a ResNet ({shown(prefix + 'layer1.0.conv1.weight')}, …) are in the file{what}")
    shapes = resnet_shapes(name, channels)
    missing = [prefix + key for key in shapes if key not in state]
    unexpected = [prefix + key for key in state if key not in shapes and not is_counter(key)]
    different = {key: state[key].shape for key in shapes if key in state and state[key].shape != shapes[key]}
    if not (missing or unexpected or different):
        problems = number_problems({prefix + key: state[key] for key in shapes})
        if problems:
            raise ValueError("these weights cannot be used:\n  " + "\n  ".join(problems))
        return name
    other = other or _difference_in_shape(different, channels)
    if other is None and missing and all(".running_" in key for key in missing):
        other = "norms without running statistics (GroupNorm)"
    problems = [f"unexpected keys ({len(unexpected)}): {list_keys(unexpected)}"] if unexpected else []
    problems += [f"missing keys ({len(missing)}): {list_keys(missing)}"] if missing else []
    problems += [
        f"{shown(prefix + key)} has shape {shape}, but that of {name} is {shapes[key]}"
        for key, shape in list(different.items())[:_LISTED]
    ]
    problems += [f"in total {len(different)} other shapes"] if len(different) > _LISTED else []
    reason = f": it has {other}" if other else ""
    problems.append(
        f"Import a plain ResNet ({', '.join(RESNETS)})."
        + (" If the unexpected keys are of a head, save the file without them." if unexpected else "")
    )
    raise ValueError(f"the network is not torchvision's {name}{reason}\n  " + "\n  ".join(problems))


def _difference_in_shape(different: Mapping[str, tuple[int, ...]], channels: int) -> str | None:
    stem = different.get("conv1.weight")
    if stem is not None and len(stem) == 4 and stem[0] == 64 and stem[2:] == (7, 7):
        frames = " (two frames, as the encoder of a pose network)" if stem[1] == 6 else ""
        return f"a first layer for {stem[1]} instead of {channels} channels{frames}"
    middle = different.get("layer1.0.conv2.weight")
    if middle is not None and len(middle) == 4:
        if middle[0] != middle[1]:
            return "grouped convolutions (ResNeXt)"
        return "wider blocks (Wide ResNet)" if middle[0] > 64 else None
    return None


def number_problems(state: Mapping[str, np.ndarray]) -> list[str]:
    """Returns a line for each kind of array that cannot be a weight: another dtype, or numbers that are not finite."""
    problems = []
    dtypes = collections.defaultdict(list)
    for key, value in state.items():
        if value.dtype.name not in _FLOATS:
            dtypes[value.dtype.name].append(key)
    for dtype, keys in dtypes.items():
        problems.append(
            f"{len(keys)} arrays are {dtype}, not float: {list_keys(keys)}. Save the weights as float32, dequantised"
        )
    bad = {}
    for key, value in state.items():
        if value.dtype.name in _FLOATS:
            with np.errstate(over="ignore"):
                count = value.size - int(np.isfinite(value.astype(np.float32, copy=False)).sum())
            if count:
                bad[key] = f"{shown(key)} ({count} of {value.size})"
    if bad:
        more = f" and {len(bad) - _LISTED} more arrays" if len(bad) > _LISTED else ""
        listed = ", ".join(list(bad.values())[:_LISTED])
        problems.append(
            f"numbers are not finite (NaN or infinite) in {listed}{more}. The training diverged, or the file is "
            "damaged: take an earlier checkpoint, or download it again"
        )
    return problems
