"""Published EfficientNet-Lite weights → variables of the encoder, in the naming of two PyTorch ports.

`efficientnet-lite-pytorch` numbers all blocks in one row (`_blocks.3._expand_conv.weight`), timm by stage
(`blocks.1.1.conv_pw.weight`). Both have the arrays of TensorFlow's checkpoints.
"""

import collections
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from sdeseg_jax.interop.weights.torch_resnets import is_counter, number_problems
from sdeseg_jax.models.encoders import ENCODERS
from sdeseg_jax.models.encoders.efficientnet_lite import LITES, block_shapes

HEADS = ("_conv_head.", "_bn1.", "_fc.", "conv_head.", "bn2.", "classifier.")
"""Prefixes of the classifier of ImageNet, which an encoder does not have. timm's stem has `bn1.`."""

_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
_PORT = {
    "_expand_conv": "expand/conv",
    "_bn0": "expand/norm",
    "_depthwise_conv": "depthwise/conv",
    "_bn1": "depthwise/norm",
    "_project_conv": "project/conv",
    "_bn2": "project/norm",
}
_TIMM = {
    "conv_pw": "expand/conv",
    "bn1": "expand/norm",
    "conv_dw": "depthwise/conv",
    "bn2": "depthwise/norm",
    "conv_pwl": "project/conv",
    "bn3": "project/norm",
}
_TIMM_FIRST = {"conv_dw": "depthwise/conv", "bn1": "depthwise/norm", "conv_pw": "project/conv", "bn2": "project/norm"}
"""Of the first stage, whose block does not expand."""


def is_efficientnet_lite(keys) -> bool:
    """Whether a state dict has the names of an EfficientNet of either port."""
    return "_conv_stem.weight" in keys or ("conv_stem.weight" in keys and "blocks.0.0.conv_dw.weight" in keys)


def check_architecture(names: Iterable[str]) -> None:
    """Refuses timm's networks without TensorFlow's padding, whose keys and shapes are the same.

    Args:
      names: of the file, and of the architecture if it is stated: timm's own is efficientnet_lite0, that with
        TensorFlow's weights is tf_efficientnet_lite0.

    Raises:
      ValueError: a name is that of the other kind.
    """
    for name in names:
        if re.search(r"(?<!tf_)efficientnet_lite\d", name):
            raise ValueError(
                f"{name!r} is timm's own EfficientNet-Lite: it pads symmetrically, and has another BatchNorm epsilon "
                "and other constants of normalisation. The encoder here is TensorFlow's; take timm's "
                "tf_efficientnet_lite with the same number"
            )


def translate(key: str, firsts: tuple[int, ...]) -> str | None:
    """Returns a key's path in the encoder's variables, e.g. 'params/block3/expand/conv/kernel', or None.

    Args:
      key: of the state dict.
      firsts: number of the first block of each stage.
    """
    if match := re.fullmatch(r"_?(conv_stem|bn0|bn1)\.(\w+)", key):
        module, leaf = match.groups()
        if key.startswith("_bn1") or key.startswith("bn0"):  # of the port's head; not timm's
            return None
        return _path("stem/conv" if module == "conv_stem" else "stem/norm", leaf)
    if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
        block, module, leaf = match.groups()
        return _path(f"block{block}/{_PORT[module]}", leaf) if module in _PORT else None
    if match := re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(\w+)", key):
        stage, block, module, leaf = match.groups()
        names = _TIMM_FIRST if stage == "0" else _TIMM
        if module in names and int(stage) < len(firsts):
            return _path(f"block{firsts[int(stage)] + int(block)}/{names[module]}", leaf)
    return None


def _path(module: str, leaf: str) -> str | None:
    if module.endswith("/conv"):
        return f"params/{module}/kernel" if leaf == "weight" else None
    if leaf not in _NORM:
        return None
    return f"{'batch_stats' if leaf.startswith('running') else 'params'}/{module}/{_NORM[leaf]}"


def convert_efficientnet_lite(
    state: Mapping[str, np.ndarray],
) -> tuple[str, dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Converts the weights of one network.

    Args:
      state: name → array, convolutions as [out, in, height, width].

    Returns:
      Name of the encoder, its {"params", "batch_stats"}, keys that were used, and keys that were left out: counters of
      BatchNorm and the classifier.

    Raises:
      ValueError: the arrays are not those of an EfficientNet-Lite, or numbers are not finite.
    """
    if wrong := number_problems({key: value for key, value in state.items() if not is_counter(key)}):
        raise ValueError("\n".join(wrong))
    problems = {}
    for name in LITES:
        shapes = block_shapes(name)
        firsts = tuple(next(i for i, one in enumerate(shapes) if one.stage == stage) for stage in range(7))
        paths = {key: translate(key, firsts) for key in state if not key.startswith(HEADS)}
        paths = {key: path for key, path in paths.items() if not is_counter(key)}
        template = traverse_util.flatten_dict(_shapes(name), sep="/")
        found = {path: _layout(state[key]) for key, path in paths.items() if path}
        twice = collections.Counter(paths.values())  # a block too many of a stage falls on the next stage's first
        unknown = [key for key, path in paths.items() if path not in template or twice[path] > 1]
        differing = [path for path in template if path not in found or found[path].shape != template[path].shape]
        if not unknown and not differing:
            left = tuple(key for key in state if key not in paths)
            return name, traverse_util.unflatten_dict(found, sep="/"), tuple(paths), left
        problems[name] = (unknown, differing)
    name, (unknown, differing) = min(problems.items(), key=lambda one: len(one[1][0]) + len(one[1][1]))
    listed = [
        *(f"unexpected key {key!r}" for key in unknown),
        *(f"{path} missing, or of another shape" for path in differing),
    ]
    more = f"\n  and {len(listed) - 8} more" if len(listed) > 8 else ""
    raise ValueError(
        f"not an EfficientNet-Lite ({', '.join(LITES)}); compared with {name}:\n  " + "\n  ".join(listed[:8]) + more
    )


def _shapes(name: str) -> dict[str, Any]:
    module = ENCODERS[name].make()
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    return dict(jax.eval_shape(lambda key, images: module.init(key, images, False), jax.random.key(0), images))


def _layout(value) -> np.ndarray:
    value = np.asarray(value, np.float32)
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
