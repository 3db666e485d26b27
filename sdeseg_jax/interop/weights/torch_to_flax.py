"""PyTorch weights of the published networks → variables of `models.Network`. Pure mapping of arrays, no torch."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.interop.weights.torch_parameter_names import is_selection_network, keys_for, translate
from sdeseg_jax.interop.weights.torch_resnets import number_problems

_LISTED = 8
"""Most keys of one kind that a message lists."""


@dataclasses.dataclass(frozen=True)
class ConversionReport:
    """What each key was used for.

    Attributes:
      used: state dict keys whose array is now in the variables.
      unused: state dict keys that the network does not use: counters, disparity convolutions of a segmentation
        decoder, blocks below its head, and (with strict=False) parts that the network does not have.
      left_initial: leaves of the variables, as 'params/pose/…', that kept the template's value.
    """

    used: tuple[str, ...]
    unused: tuple[str, ...]
    left_initial: tuple[str, ...]


def _known_unused(path: str, template: Mapping[str, Any]) -> bool:
    """Whether a path is a layer that published files hold although their network does not use it."""
    if "/segmentation_decoder/heads/scale" in path:
        return True
    # Blocks finer than the one that feeds the segmentation head.
    block = re.search(r"/(segmentation_decoder/blocks/block[01]/)", path)
    return bool(block) and not any(name.startswith(f"params/{block.group(1)}") for name in template)


def _part(path: str) -> str:
    return path.split("/")[1]


def _layout(value) -> np.ndarray:
    """PyTorch's [out, in, height, width] → [height, width, in, out]; vectors are unchanged."""
    value = np.asarray(value, np.float32)
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a convolution's kernel in PyTorch's layout; of a vector unchanged."""
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else tuple(shape)


def convert_state_dict(
    state: Mapping[str, np.ndarray], variables_template: Mapping[str, Any], strict: bool = True
) -> tuple[dict[str, Any], ConversionReport]:
    """Converts a published network's weights to the variables of the same network in Flax.

    Args:
      state: full state dict, name → array, convolutions as [out, in, height, width].
      variables_template: {'params', 'batch_stats'} from `network.init(..., method='init_all')`, or `jax.eval_shape`
        of it if no leaf keeps its initial value.
      strict: the state and the network must have the same parts. With False, a part (`encoder`, `depth_decoder`,
        `segmentation_decoder`, `distillation`, `pose`) may be missing as a whole from either: the network's keeps the
        template's values, the state's is unused. A part that both have must always match completely.

    Returns:
      Variables in the template's structure, float32, and the report of what was used.

    Raises:
      ValueError: keys are unexpected or missing, arrays have another shape than the network's, or are not finite
        floats; lists all.
    """
    template = traverse_util.flatten_dict(variables_template, sep="/")
    parts = {_part(path) for path in template}
    selection = is_selection_network(state)

    source, used, unused, unexpected, problems = {}, [], [], [], []
    for key in state:
        path = None if key.endswith("num_batches_tracked") else translate(key, selection)
        if path in source:
            problems.append(f"{key!r} and {source[path]!r} both map to {path!r}")
        elif path in template:
            source[path] = key
            used.append(key)
        elif path is None and not key.endswith("num_batches_tracked"):
            unexpected.append(key)
        elif path is None or _known_unused(path, template) or (_part(path) not in parts and not strict):
            unused.append(key)
        else:
            unexpected.append(key)

    present = {_part(path) for path in source}
    left = [path for path in template if path not in source]
    missing = [path for path in left if strict or _part(path) in present]
    if missing or unexpected:
        multi_task = any(key.startswith("models.mtl_decoder.") for key in state)
        names = keys_for(set(template), multi_task, selection)
        # Suggest missing keys rather than those that the state already has.
        candidates = [names.get(path, path) for path in missing] or list(names.values())
        problems += [f"unexpected key {key!r}{nearest(key, candidates)}" for key in unexpected[:_LISTED]]
        problems += [f"missing key {names.get(path, path)!r}" for path in missing[:_LISTED]]
        problems += [f"in total {len(unexpected)} unexpected and {len(missing)} missing keys"]

    for path, key in source.items():
        shape = _torch_shape(template[path].shape)
        if state[key].shape != shape:
            problems.append(f"{key!r} has shape {state[key].shape}, but the network's is {shape}")
    if problems:
        raise ValueError("the state dict does not fit the network:\n  " + "\n  ".join(problems))
    problems = number_problems({key: state[key] for key in used})
    if problems:
        raise ValueError("these weights cannot be used:\n  " + "\n  ".join(problems))

    converted = {path: _layout(state[key]) for path, key in source.items()}
    variables = {path: converted.get(path, leaf) for path, leaf in template.items()}
    report = ConversionReport(tuple(used), tuple(unused), tuple(left))
    return traverse_util.unflatten_dict(variables, sep="/"), report
