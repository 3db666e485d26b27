"""Published weights, in their authors' files → parts of this project's networks, ready for `config.init`."""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from sdeseg_jax.interop.weights.checkpoint_layout import FoundEncoder, find_encoder, state_dicts
from sdeseg_jax.interop.weights.depth_folders import FOLDER_FILES, read_depth_folder
from sdeseg_jax.interop.weights.dino_weights import check_training_data, convert_dino, prefixes_of_transformers
from sdeseg_jax.interop.weights.efficientnet_lite_weights import (
    check_architecture,
    convert_efficientnet_lite,
    is_efficientnet_lite,
)
from sdeseg_jax.interop.weights.torch_resnets import find_backbone, list_keys, suspicions
from sdeseg_jax.interop.weights.torch_to_flax import convert_state_dict
from sdeseg_jax.interop.weights.weight_files import FOLDER_NAMES, WeightFileError, read_weight_file, weight_file_in
from sdeseg_jax.models.network import Network

_RELEASED = ("models.encoder.encoder.", "models.pose_encoder.", "models.depth.", "models.segmentation.")
_RELEASED += ("models.mtl_decoder.",)
"""How keys of a released network begin."""
_SHARD = re.compile(r"(.+)-\d+-of-(\d+)\.(safetensors|bin)")
_ENCODERS = {"backbone": "models.encoder.encoder.", "pose_backbone": "models.pose_encoder.encoder."}
_DECODERS = ("models.depth.", "models.mtl_decoder.depth_dec.", "models.mtl_decoder.seg_dec.")
_DECODERS += ("models.segmentation.unet_dec.",)
_FUSE_POSITIONS = (13, 11, 8, 5, 2)
"""Positions in a decoder's list of layers of the convolutions that set the channels of blocks 0..4."""
_MOST_CHANNELS = 4096
_SLIM_CHANNELS = (16, 32, 64, 128, 256)
"""Decoder of the released source domain networks, which have ASPP rates 3, 6, 9 and output stride 32."""


@dataclasses.dataclass(frozen=True)
class ImportedWeights:
    """Weights by part.

    Attributes:
      variables: {'params', 'batch_stats'} with whole parts; `pose` of a ResNet's file has only its encoder.
      model: settings of `config.model` that the network must have. The file does not hold ASPP rates and output stride;
        they are inferred from its decoder's channels.
      used, unused: keys of the file whose array is, or is not, in the variables.
      prefix: what stands before a ResNet's keys in the file; None for other networks.
      notes: sentences for the user: where in the file the weights were, what else to know.
    """

    variables: dict[str, Any]
    model: dict[str, Any]
    used: tuple[str, ...]
    unused: tuple[str, ...]
    prefix: str | None = None
    notes: tuple[str, ...] = ()


def read_published(source: str | pathlib.Path, prefix: str | None = None) -> ImportedWeights:
    """Reads an encoder in any checkpoint, a depth network's folder, or a released `.pkl`.

    Args:
      source: file; index of a model in several files; or folder of such a model or of a depth network.
      prefix: path to the ResNet, or Vision Transformer, in a checkpoint with several: keys of the dicts around it, and
        what stands before its own keys.

    Raises:
      WeightFileError: a file cannot be read or holds no state dict.
      ValueError: keys are missing or unexpected, arrays have another shape, or the network is of another kind.
    """
    source, notes = pathlib.Path(source), []
    if source.is_dir():
        file = None if (source / "encoder.pth").is_file() else weight_file_in(source)
        if file is None:
            return _depth_folder(source, prefix)
        source, notes = file, [f"Read {file.name}."]
    if (match := _SHARD.fullmatch(source.name)) and int(match[2]) > 1:
        raise WeightFileError(
            f"{source} is one of {int(match[2])} files of a model. Name its index, "
            f"{match[1]}.{match[3]}.index.json, or the folder that has all of them."
        )
    content = read_weight_file(source)
    if not isinstance(content, dict):
        raise WeightFileError(f"{source} holds a {type(content).__name__}, not a state dict")
    states = [state for _, state in state_dicts(content)]
    if not states:
        raise WeightFileError(f"{source} has no tensors; its entries: {list_keys(content)}")
    released = next((state for state in map(_without_wrappers, states) if _is_released(state)), None)
    if released is not None and prefix is None:
        return _convert(released)
    lite = next((state for state in map(_without_wrappers, states) if is_efficientnet_lite(state)), None)
    names = [source.name, *(content[key] for key in ("arch", "architecture") if isinstance(content.get(key), str))]
    names += _architecture(source.parent)
    if "@" in source.parent.name:  # of the cache: repository and revision
        names.append(source.parent.name)
    if lite is not None and prefix is None:
        if "conv_stem.weight" in lite:  # timm's names
            check_architecture(names)
        return _efficientnet_lite(lite)
    transformers = [(path, state) for path, state in state_dicts(content) if prefixes_of_transformers(state)]
    if transformers:
        check_training_data(names)
    if len(transformers) == 1:
        return _dino(transformers[0][1], prefix, notes)
    if transformers:  # of a teacher and a student, or of a network and its average: one is chosen by its path
        merged = {".".join((*path, key)): value for path, state in transformers for key, value in state.items()}
        return _dino(merged, prefix, notes)
    encoder = find_encoder(content, prefix)
    if encoder is None:
        raise ValueError(
            f"{source} is neither a torchvision ResNet (no 'layer1.0.conv1.weight' behind any prefix), nor an "
            "EfficientNet-Lite, a DINO, or a released network (no 'models.…'); its first keys: "
            f"{list_keys(states[0])}. "
            f"A depth network is a folder with {', '.join(FOLDER_FILES)}."
        )
    return _encoder(encoder, [*notes, *suspicions(names)])


def _architecture(folder: pathlib.Path) -> list[str]:
    """Returns the architecture in the `config.json` that a hub (timm) puts beside weights, if there is one."""
    path = folder / "config.json"
    try:
        small = path.stat().st_size < 1 << 20
        name = json.loads(path.read_text(encoding="utf-8")).get("architecture") if small else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return []
    return [name] if isinstance(name, str) else []


def _is_released(state: Mapping[str, Any]) -> bool:
    return any(key.startswith(_RELEASED) for key in state)


def _without_wrappers(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes what training on several GPUs, and compilation, put before every key."""
    for prefix in ("module.", "_orig_mod.", "module."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _depth_folder(folder: pathlib.Path, prefix: str | None) -> ImportedWeights:
    if not (folder / "encoder.pth").is_file() and not any(folder.glob("*/encoder.pth")):
        raise WeightFileError(
            f"{folder} has no encoder.pth; a released depth network is a folder with {', '.join(FOLDER_FILES)}, and a "
            f"model of a hub one with {' or '.join(FOLDER_NAMES)}. Name such a folder, or a single file."
        )
    if prefix is not None:
        raise ValueError("--prefix chooses a network in one file, but this is a depth network's folder. Leave it out")
    found = read_depth_folder(folder)
    converted = _convert(found.state)
    return dataclasses.replace(converted, unused=(*converted.unused, *found.left_out), notes=found.notes)


def _encoder(found: FoundEncoder, notes: list[str]) -> ImportedWeights:
    """A ResNet for images; also for the pose network, if that may have such an encoder."""
    converted = _convert({_ENCODERS["backbone"] + key: value for key, value in found.state.items()})
    variables = converted.variables
    if found.backbone != "resnet101":
        variables = {
            key: {**part, "pose": {"encoder": _two_frames(part["encoder"])}} for key, part in variables.items()
        }
    if found.origin:
        notes = [*notes, f"Taken from: {found.origin}."]
    used = tuple(found.prefix + key for key in found.state)
    return ImportedWeights(variables, converted.model, used, found.left_out, found.prefix, tuple(notes))


def _efficientnet_lite(state: dict[str, np.ndarray]) -> ImportedWeights:
    """An encoder for images, and for the pose network."""
    name, variables, used, left_out = convert_efficientnet_lite(state)
    both = {key: {"encoder": part, "pose": {"encoder": _two_frames(part)}} for key, part in variables.items()}
    return ImportedWeights(both, {"backbone": name}, used, left_out)


def _dino(state: dict[str, np.ndarray], prefix: str | None, notes: list[str]) -> ImportedWeights:
    """An encoder for images, without the reassembly of its features."""
    name, variables, used, left_out = convert_dino(state, prefix)
    both = {key: {"encoder": part} for key, part in variables.items()}
    return ImportedWeights(both, {"backbone": name}, used, left_out, notes=tuple(notes))


def _two_frames(encoder: dict[str, Any]) -> dict[str, Any]:
    """Encoder of one image → of two, stacked on the channel axis: the first kernel repeated and halved."""
    if "conv" not in encoder["stem"]:  # statistics
        return encoder
    kernel = encoder["stem"]["conv"]["kernel"]
    doubled = {**encoder["stem"]["conv"], "kernel": np.concatenate([kernel, kernel], axis=2) / 2}
    return {**encoder, "stem": {**encoder["stem"], "conv": doubled}}


def _model_settings(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the settings of `config.model` that can be inferred from a state dict."""
    settings = {field: name for field, prefix in _ENCODERS.items() if (name := find_backbone(state, prefix))}
    for prefix in _DECODERS:
        fuse = [state.get(f"{prefix}decoder.{position}.block.0.conv.weight") for position in _FUSE_POSITIONS]
        if all(kernel is not None for kernel in fuse):
            settings["decoder_channels"] = tuple(map(_outputs, fuse))
            settings["decoder_norm"] = f"{prefix}decoder.13.block.1.weight" in state
    if settings.get("decoder_channels") == _SLIM_CHANNELS:
        settings |= {"aspp_rates": (3, 6, 9), "output_stride": 32}
    return settings


def _outputs(kernel: np.ndarray) -> int:
    """Returns the channels that a convolution of a released network makes."""
    if kernel.ndim != 4 or not 1 <= kernel.shape[0] <= _MOST_CHANNELS:
        raise ValueError(f"a convolution that sets the network's channels has the shape {kernel.shape}")
    return kernel.shape[0]


def _network(state: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Network:
    """Returns the network that has the state dict's parts."""
    classifier = ("models.mtl_decoder.seg_final_head.0", "models.segmentation.head.5", "models.segmentation.head.2")
    classes = [_outputs(state[f"{name}.weight"]) for name in classifier if f"{name}.weight" in state]
    multitask = any(key.startswith("models.mtl_decoder.") for key in state)
    slim = "models.segmentation.head.5.weight" in state
    return Network(
        **settings,
        num_classes=classes[0] if classes else 19,
        depth=any(key.startswith(_DECODERS[:2]) for key in state),
        segmentation=bool(classes),
        distillation=multitask,
        segmentation_head="classifier" if multitask else "half_resolution" if slim else "projection",
        pose=any(key.startswith(("models.pose.", "models.pose_encoder.")) for key in state),
    )


def _convert(state: dict[str, np.ndarray]) -> ImportedWeights:
    settings = _model_settings(state)
    if "backbone" not in settings:
        raise ValueError(f"the encoder is missing; the first keys are {list_keys(state)}")
    network = _network(state, settings)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    template = jax.eval_shape(functools.partial(network.init, method="init_all"), jax.random.key(0), images)
    variables, report = convert_state_dict(state, template)
    return ImportedWeights(variables, settings, report.used, report.unused)
