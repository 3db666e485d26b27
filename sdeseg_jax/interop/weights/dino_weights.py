"""Published weights of DINOv2 and DINOv3 → variables of the encoder, in three namings.

The publisher (`blocks.0.attn.qkv.weight`; timm's DINOv2 is alike), the hub's files
(`encoder.layer.0.attention.attention.query.weight`, DINOv3 `layer.0.attention.q_proj.weight`), and what transformers 5
saves (`encoder.layer.0.attention.q_proj.weight`, DINOv3 `model.layer.0.…`).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from sdeseg_jax.interop.weights.torch_resnets import number_problems
from sdeseg_jax.models.encoders import ENCODERS
from sdeseg_jax.models.encoders.dino import DINOS, name_of

_CLASS_TOKEN = re.compile(r"(.*?)(embeddings\.)?cls_token")
_LEFT_OUT = re.compile(
    r"(embeddings\.)?mask_token|rope_embed\.\w+|.*\.bias_mask|(linear_head|head|classifier|dino_head|ibot_head)\..*"
)
"""Tokens of masked training, constants, and heads."""

_TOP = {
    "cls_token": "class_token",
    "embeddings.cls_token": "class_token",
    "pos_embed": "positions",
    "embeddings.position_embeddings": "positions",
    "register_tokens": "registers",
    "storage_tokens": "registers",
    "embeddings.register_tokens": "registers",
    "reg_token": "registers",
    "patch_embed.proj": "patches",
    "embeddings.patch_embeddings.projection": "patches",
    "embeddings.patch_embeddings": "patches",
    "norm": "norm",
    "layernorm": "norm",
}
_BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.qkv": "attention/qkv",
    "attn.proj": "attention/project",
    "ls1.gamma": "scale1",
    "ls2.gamma": "scale2",
    "mlp.fc1": "expand",
    "mlp.fc2": "reduce",
    "attention.attention.query": "attention/query",
    "attention.attention.key": "attention/key",
    "attention.attention.value": "attention/value",
    "attention.output.dense": "attention/project",
    "attention.q_proj": "attention/query",
    "attention.k_proj": "attention/key",
    "attention.v_proj": "attention/value",
    "attention.o_proj": "attention/project",
    "layer_scale1.lambda1": "scale1",
    "layer_scale2.lambda1": "scale2",
    "mlp.up_proj": "expand",
    "mlp.down_proj": "reduce",
}
_NUMBERED = re.compile(r"(?:blocks|encoder\.layer|model\.layer|layer)\.(\d+)\.(.+)")


def prefixes_of_transformers(keys: Iterable[str]) -> list[str]:
    """Returns what stands before the keys of each Vision Transformer in a state dict."""
    found = (_CLASS_TOKEN.fullmatch(key) for key in keys)
    return sorted({match[1] for match in found if match and (not match[1] or match[1].endswith("."))})


def check_training_data(names: Iterable[str]) -> None:
    """Refuses weights for satellite images, which have the keys and shapes of the others.

    Args:
      names: of the file, its repository and its architecture.

    Raises:
      ValueError: a name is that of such weights.
    """
    for name in names:
        if "sat493m" in name.lower():
            raise ValueError(
                f"{name!r} was trained on satellite images (SAT-493M), normalised with other constants than the "
                "encoders here have. Take the weights of LVD-1689M"
            )


def translate(key: str) -> str | None:
    """Returns a key's path in the Vision Transformer, e.g. 'block0/attention/query/kernel'; None if it has none."""
    name, _, leaf = key.rpartition(".")
    numbered = _NUMBERED.fullmatch(key)
    if numbered:
        inner = numbered[2]
        if inner in _BLOCK:
            return f"block{int(numbered[1])}/{_BLOCK[inner]}"
        inner, _, leaf = inner.rpartition(".")
        return _leaf(f"block{int(numbered[1])}/{_BLOCK[inner]}", leaf) if inner in _BLOCK else None
    if key in _TOP:
        return _TOP[key]
    return _leaf(_TOP[name], leaf) if name in _TOP else None


def _leaf(module: str, leaf: str) -> str | None:
    if leaf not in ("weight", "bias"):
        return None
    weight = "scale" if module.rpartition("/")[2].startswith("norm") else "kernel"
    return f"{module}/{weight if leaf == 'weight' else 'bias'}"


def convert_dino(
    state: Mapping[str, np.ndarray], prefix: str | None = None
) -> tuple[str, dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Converts the weights of one network.

    Args:
      state: name → array, matrices as [out, in].
      prefix: of its keys, if there are several.

    Returns:
      Name of the encoder, its {"params", "batch_stats"}, keys that were used, and keys that were left out: the token of
      masked training, constants, and heads.

    Raises:
      ValueError: the arrays are not those of a DINOv2 or DINOv3, or numbers are not finite.
    """
    own, paths, found = _translated(state, prefix)
    tree = traverse_util.unflatten_dict(found, sep="/")
    name = _name(tree, own)
    wanted = traverse_util.flatten_dict(shapes(name), sep="/")
    problems = [f"unexpected key {key!r}" for key, path in paths.items() if not path]
    problems += [f"{path} missing" for path in wanted if path not in found]
    problems += [f"{path} is not part of it" for path in found if path not in wanted]
    for path in wanted.keys() & found.keys():
        if found[path].shape != wanted[path].shape:
            problems.append(f"{path} has the shape {found[path].shape}, expected {wanted[path].shape}")
    if len(set(filter(None, paths.values()))) < sum(map(bool, paths.values())):
        problems.append("several keys of one array, in different namings")
    if problems:
        more = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"not exactly a {name}, the nearest encoder:\n  " + "\n  ".join(problems[:8]) + more)
    used = tuple(own)
    left = tuple(key for key in state if key not in set(used))
    return name, {"params": {"transformer": tree}, "batch_stats": {}}, used, left


def read_tree(state: Mapping[str, np.ndarray], prefix: str | None = None) -> dict[str, Any]:
    """Returns the variables of a Vision Transformer of any size; arguments and errors as `convert_dino`."""
    return traverse_util.unflatten_dict(_translated(state, prefix)[2], sep="/")


def _translated(state: Mapping[str, np.ndarray], prefix: str | None):
    """Returns the network's arrays by the file's keys, their paths in the encoder (None: unknown), and path → array."""
    prefix = _choose(prefixes_of_transformers(state), prefix)
    own = {key: value for key, value in state.items() if key.startswith(prefix)}
    own = {key: value for key, value in own.items() if not _LEFT_OUT.fullmatch(key.removeprefix(prefix))}
    if wrong := number_problems(own):
        raise ValueError("\n".join(wrong))
    paths = {key: translate(key.removeprefix(prefix)) for key in own}
    found = {path: _layout(np.asarray(own[key], np.float32)) for key, path in paths.items() if path}
    if prefix + "reg_token" in own and "positions" in found:  # timm added the class's position to its token
        found["positions"] = np.pad(found["positions"], ((1, 0), (0, 0)))
    masks = [np.asarray(value) for key, value in state.items() if key.endswith(".bias_mask")]
    if any(mask[len(mask) // 3 : 2 * len(mask) // 3].any() for mask in masks):
        raise ValueError("its bias_mask keeps biases of keys, which DINOv3 has none of")
    return own, paths, _split_attention(found, masked=bool(masks))


def _choose(prefixes: list[str], prefix: str | None) -> str:
    if prefix is not None:
        wanted = prefix if prefix == "" or prefix.endswith(".") else f"{prefix}."
        if wanted not in prefixes:
            listed = ", ".join(map(repr, prefixes))
            raise ValueError(f"--prefix={prefix} does not name one of the networks in it. Those are at: {listed}")
        return wanted
    teachers = [one for one in prefixes if "teacher" in one]
    if len(prefixes) > 1 and len(teachers) != 1:
        listed = ", ".join(map(repr, prefixes))
        raise ValueError(f"it holds {len(prefixes)} Vision Transformers. Choose one with --prefix=…: {listed}")
    return teachers[0] if teachers else prefixes[0]


def _layout(value: np.ndarray) -> np.ndarray:
    """Returns an array as Flax has it: matrices [in, out], kernels [height, width, in, out], tokens [count, C]."""
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    if value.ndim == 3:
        return value[0] if len(value) == 1 else value
    return value.T if value.ndim == 2 else value


def _split_attention(found: dict[str, np.ndarray], masked: bool) -> dict[str, np.ndarray]:
    """Splits the publisher's joint matrices of query, key and value; drops key biases that a mask sets to zero."""
    parts = {}
    for path, value in found.items():
        if "/qkv/" not in path or value.shape[-1] % 3:
            parts[path] = value
            continue
        for name, part in zip(("query", "key", "value"), np.split(value, 3, axis=-1), strict=True):
            parts[path.replace("qkv", name)] = part
    if masked or "positions" not in found:
        keys = [path for path in parts if path.endswith("attention/key/bias")]
        if not masked and any(parts[path].any() for path in keys):
            raise ValueError("DINOv3 has no biases of keys, but this file has, and no bias_mask that removes them")
        parts = {path: value for path, value in parts.items() if path not in keys}
    return parts


def _name(tree: Mapping[str, Any], keys: Iterable[str]) -> str:
    gated = [key for key in keys if re.search(r"mlp\.(w12|w1|w3|gate_proj|weights_in)\.", key)]
    if gated:
        raise ValueError(
            f"its perceptrons are gated (SwiGLU, key {gated[0]!r}), as in the giant, huge and small-plus networks; the "
            f"encoders here are {', '.join(DINOS)}"
        )
    kernel = tree.get("patches", {}).get("kernel")
    name = name_of({"transformer": tree}) if kernel is not None and kernel.ndim == 4 else None
    if name is None:
        blocks = sum(key.startswith("block") for key in tree)
        patch = f", patches of {kernel.shape[0]} pixels" if kernel is not None else ""
        registers = f", {len(tree['registers'])} registers" if "registers" in tree else ""
        raise ValueError(
            f"it is a Vision Transformer of another kind ({blocks} blocks{patch}{registers}); the encoders here are "
            f"{', '.join(DINOS)}"
        )
    return name


def shapes(name: str) -> dict[str, Any]:
    """Returns the shapes of an encoder's Vision Transformer."""
    module, images = ENCODERS[name].make(), jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    variables = jax.eval_shape(lambda key, images: module.init(key, images, False), jax.random.key(0), images)
    return variables["params"]["transformer"]
