"""Folders of depth networks: those that the paper's authors released, and monodepth2's, which they derive from.

Both have the same file names, encoders and pose decoder, and normalise images alike. Their depth decoders differ.
"""

import dataclasses
import pathlib

import numpy as np

from sdeseg_jax.interop.weights.checkpoint_layout import state_dicts
from sdeseg_jax.interop.weights.torch_resnets import check_resnet, is_counter
from sdeseg_jax.interop.weights.weight_files import WeightFileError, read_weight_file

FOLDER_FILES = {
    "encoder.pth": "models.encoder.",
    "depth.pth": "models.depth.",
    "pose_encoder.pth": "models.pose_encoder.",
    "pose.pth": "models.pose.",
}
"""Files in a depth network's folder -> prefix that their keys lack."""

_MONODEPTH2_DECODER = "decoder.0.conv.conv.weight"
_POSE_FILES = ("pose_encoder.pth", "pose.pth")


@dataclasses.dataclass(frozen=True)
class DepthFolder:
    """A depth network's weights.

    Attributes:
      state: keys of a whole released network -> arrays.
      left_out: keys, in the same naming, that no network here has.
      notes: what a user must know about them.
    """

    state: dict[str, np.ndarray]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_depth_folder(folder: pathlib.Path) -> DepthFolder:
    """Reads the folder of a released depth network, or of monodepth2.

    Raises:
      WeightFileError: a file is missing, or cannot be read.
      ValueError: an encoder of monodepth2 is another network than a ResNet.
    """
    files = {name: _read(folder / name) for name in FOLDER_FILES if (folder / name).is_file()}
    if "encoder.pth" not in files:
        inside = sorted(path.parent.name for path in folder.glob("*/encoder.pth"))
        hint = f". Name the folder inside: {', '.join(inside[:4])}" if inside else ""
        raise WeightFileError(
            f"{folder} has no encoder.pth; a released depth network is a folder with {', '.join(FOLDER_FILES)}{hint}"
        )
    pose = [name for name in _POSE_FILES if name in files]
    if len(pose) == 1:
        lacking = next(name for name in _POSE_FILES if name not in pose)
        raise WeightFileError(f"{folder} has {pose[0]}, but no {lacking}. Add it, or move {pose[0]} elsewhere.")
    state = {FOLDER_FILES[name] + key: value for name, one in files.items() for key, value in one.items()}
    if not _is_monodepth2(files):
        return DepthFolder(state)
    for name in ("encoder.pth", *pose[:1]):
        _check_encoder(folder / name, files[name], channels=6 if name in pose else 3)
    left_out = {FOLDER_FILES[name] + key for name, one in files.items() for key in one if key.startswith("encoder.fc.")}
    left_out |= {key for key in state if key.startswith(FOLDER_FILES["depth.pth"])}
    notes = ["monodepth2: images are normalised as there, (x - 0.45) / 0.225, so these weights fit as they are."]
    if "depth.pth" in files:
        notes.append(
            "Its depth decoder (depth.pth) is another network than the paper's, which has ASPP: it is left out, and "
            "the depth decoder keeps its initial weights."
        )
    if not pose:
        notes.append("It has no pose network (trained on stereo pairs); the pose network keeps its initial weights.")
    else:
        notes.append(
            "Its pose network was trained without a forward-motion prior: keep config.model.pose_rotation_scale=1 and "
            "pose_translation_bias=(0, 0, 0), as the paper's configs have them."
        )
    return DepthFolder({key: state[key] for key in state if key not in left_out}, tuple(sorted(left_out)), tuple(notes))


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    state = next((state for _, state in state_dicts(read_weight_file(path))), None)
    if state is None:
        raise WeightFileError(f"{path} has no state dict")
    while state and all(key.startswith("module.") for key in state):  # trained on several GPUs
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _is_monodepth2(files: dict[str, dict[str, np.ndarray]]) -> bool:
    """Whether the depth decoder is monodepth2's, or an encoder has the classifier that the release removed."""
    if "depth.pth" in files:
        return _MONODEPTH2_DECODER in files["depth.pth"]
    return "encoder.fc.weight" in files["encoder.pth"]


def _check_encoder(path: pathlib.Path, state: dict[str, np.ndarray], channels: int) -> None:
    own = {key.removeprefix("encoder."): value for key, value in state.items() if not key.startswith("encoder.fc.")}
    try:
        check_resnet({key: value for key, value in own.items() if not is_counter(key)}, channels, "encoder.")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
