"""Published weights, in their authors' files → parts of this project's networks, ready for `config.init`."""

import collections
import dataclasses
import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from sdeseg_jax.interop.weights.torch_to_flax import convert_state_dict
from sdeseg_jax.interop.weights.weight_files import WeightFileError, read_weight_file
from sdeseg_jax.models.encoders.resnet import RESNETS
from sdeseg_jax.models.network import Network

FOLDER_FILES = {
    "encoder.pth": "models.encoder.",
    "depth.pth": "models.depth.",
    "pose_encoder.pth": "models.pose_encoder.",
    "pose.pth": "models.pose.",
}
"""Files in a released depth network's folder -> prefix that their keys lack."""

_ENCODERS = {"backbone": "models.encoder.encoder.", "pose_backbone": "models.pose_encoder.encoder."}
_DECODERS = ("models.depth.", "models.mtl_decoder.depth_dec.", "models.mtl_decoder.seg_dec.")
_DECODERS += ("models.segmentation.unet_dec.",)
_FUSE_POSITIONS = (13, 11, 8, 5, 2)
"""Positions in a decoder's list of layers of the convolutions that set the channels of blocks 0..4."""
_SLIM_CHANNELS = (16, 32, 64, 128, 256)
"""Decoder of the released source domain networks, which have ASPP rates 3, 6, 9 and output stride 32."""


@dataclasses.dataclass(frozen=True)
class ImportedWeights:
    """Weights by part.

    Attributes:
      variables: {'params', 'batch_stats'} with whole parts; `pose` of a torchvision file has only its encoder.
      model: settings of `config.model` that the network must have. The file does not hold ASPP rates and output stride;
        they are inferred from its decoder's channels.
      used, unused: keys of the file whose array is, or is not, in the variables.
    """

    variables: dict[str, Any]
    model: dict[str, Any]
    used: tuple[str, ...]
    unused: tuple[str, ...]


def read_published(source: str | pathlib.Path) -> ImportedWeights:
    """Reads a torchvision ResNet, a released depth network's folder, or a released `.pkl`.

    Raises:
      WeightFileError: a file cannot be read or holds no state dict.
      ValueError: keys are missing or unexpected, arrays have another shape, or the network is of another kind.
    """
    source = pathlib.Path(source)
    if source.is_dir():
        return _convert(_read_folder(source))
    content = read_weight_file(source)
    if not isinstance(content, dict):
        raise WeightFileError(f"{source} holds a {type(content).__name__}, not a state dict")
    nested = next((key for key in ("model_state", "state_dict") if isinstance(content.get(key), dict)), None)
    state = _tensors(content[nested] if nested else content)
    if not state:
        raise WeightFileError(f"{source} has no tensors; its entries: {', '.join(map(str, list(content)[:8]))}")
    if all(key.startswith("module.") for key in state):  # trained on several GPUs
        state = {key.removeprefix("module."): value for key, value in state.items()}
    if "conv1.weight" in state:
        return _torchvision(state)
    if not any(key.startswith("models.") for key in state):
        raise ValueError(
            f"{source} is neither a torchvision ResNet (no 'conv1.weight') nor a released network (no 'models.…'); its "
            f"first keys: {', '.join(list(state)[:4])}. A depth network is a folder with {', '.join(FOLDER_FILES)}."
        )
    return _convert(state)


def _tensors(content: Mapping) -> dict[str, np.ndarray]:
    return {str(key): value for key, value in content.items() if isinstance(value, np.ndarray)}


def _read_folder(folder: pathlib.Path) -> dict[str, np.ndarray]:
    files = {name: prefix for name, prefix in FOLDER_FILES.items() if (folder / name).is_file()}
    if "encoder.pth" not in files:
        raise WeightFileError(
            f"{folder} has no encoder.pth; a released depth network is a folder with {', '.join(FOLDER_FILES)}"
        )
    state = {}
    for name, prefix in files.items():
        content = read_weight_file(folder / name)
        if not isinstance(content, dict) or not (tensors := _tensors(content)):
            raise WeightFileError(f"{folder / name} has no state dict")
        state |= {prefix + key: value for key, value in tensors.items()}
    return state


def _backbone(state: Mapping[str, Any], prefix: str) -> str | None:
    """Returns the name of the ResNet whose keys begin with `prefix`; None if no keys do."""
    blocks = {match.groups() for key in state if (match := re.match(re.escape(prefix) + r"layer(\d)\.(\d+)\.", key))}
    if not blocks:
        return None
    counts = tuple(collections.Counter(stage for stage, _ in blocks)[stage] for stage in "1234")
    bottleneck = f"{prefix}layer1.0.conv3.weight" in state
    for name, known in RESNETS.items():
        if known == (counts, bottleneck):
            return name
    kind = "bottleneck" if bottleneck else "basic"
    raise ValueError(f"no known ResNet has {counts} {kind} blocks; known: {', '.join(RESNETS)}")


def _torchvision(state: dict[str, np.ndarray]) -> ImportedWeights:
    """ImageNet's encoder; also for the pose network, if that may have such an encoder."""
    name = _backbone(state, "")
    if name is None:
        raise ValueError("the file has 'conv1.weight', but no blocks of a ResNet ('layer1.0.conv1.weight', …)")
    unused = tuple(key for key in state if key.startswith("fc."))
    encoder = {key: value for key, value in state.items() if key not in unused}
    converted = _convert({_ENCODERS["backbone"] + key: value for key, value in encoder.items()})
    variables = converted.variables
    if name != "resnet101":
        variables = {
            key: {**part, "pose": {"encoder": _two_frames(part["encoder"])}} for key, part in variables.items()
        }
    short = len(_ENCODERS["backbone"])
    names = [tuple(key[short:] for key in keys) for keys in (converted.used, converted.unused)]
    return ImportedWeights(variables, {"backbone": name}, names[0], (*names[1], *unused))


def _two_frames(encoder: dict[str, Any]) -> dict[str, Any]:
    """Encoder of one image → of two, stacked on the channel axis: the first kernel repeated and halved."""
    if "conv" not in encoder["stem"]:  # statistics
        return encoder
    kernel = encoder["stem"]["conv"]["kernel"]
    doubled = {**encoder["stem"]["conv"], "kernel": np.concatenate([kernel, kernel], axis=2) / 2}
    return {**encoder, "stem": {**encoder["stem"], "conv": doubled}}


def _model_settings(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the settings of `config.model` that can be inferred from a state dict."""
    settings = {field: name for field, prefix in _ENCODERS.items() if (name := _backbone(state, prefix))}
    for prefix in _DECODERS:
        fuse = [state.get(f"{prefix}decoder.{position}.block.0.conv.weight") for position in _FUSE_POSITIONS]
        if all(kernel is not None for kernel in fuse):
            settings["decoder_channels"] = tuple(kernel.shape[0] for kernel in fuse)
            settings["decoder_norm"] = f"{prefix}decoder.13.block.1.weight" in state
    if settings.get("decoder_channels") == _SLIM_CHANNELS:
        settings |= {"aspp_rates": (3, 6, 9), "output_stride": 32}
    return settings


def _network(state: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Network:
    """Returns the network that has the state dict's parts."""
    classifier = ("models.mtl_decoder.seg_final_head.0", "models.segmentation.head.5", "models.segmentation.head.2")
    classes = [state[f"{name}.weight"].shape[0] for name in classifier if f"{name}.weight" in state]
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
        raise ValueError(f"the encoder is missing; the first keys are {', '.join(list(state)[:4])}")
    network = _network(state, settings)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    template = jax.eval_shape(functools.partial(network.init, method="init_all"), jax.random.key(0), images)
    variables, report = convert_state_dict(state, template)
    return ImportedWeights(variables, settings, report.used, report.unused)
