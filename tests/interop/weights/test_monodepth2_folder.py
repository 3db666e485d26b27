"""Folders as monodepth2's authors release them: encoder and pose network come in, the depth decoder does not."""

import json

import numpy as np
import pytest

from sdeseg_jax.commands import import_weights
from sdeseg_jax.interop.weights.depth_folders import read_depth_folder
from sdeseg_jax.interop.weights.published_weights import read_published
from sdeseg_jax.interop.weights.torch_resnets import resnet_shapes
from tests.interop.torch_writer import save

POSE = {"net.0": (256, 512, 1, 1), "net.1": (256, 256, 3, 3), "net.2": (256, 256, 3, 3), "net.3": (12, 256, 1, 1)}


def encoder(channels=3):
    """A ResNet's keys with monodepth2's prefix, its classifier and counters."""
    rng = np.random.default_rng(channels)
    state = {}
    for key, shape in resnet_shapes("resnet18", channels).items():
        state[f"encoder.{key}"] = rng.standard_normal(shape, np.float32)
        if key.endswith("running_var"):
            state[f"encoder.{key.replace('running_var', 'num_batches_tracked')}"] = np.array(0)
    return state | {
        "encoder.fc.weight": np.zeros((1000, 512), np.float32),
        "encoder.fc.bias": np.zeros(1000, np.float32),
    }


def pose_decoder():
    rng = np.random.default_rng(0)
    state = {f"{name}.weight": rng.standard_normal(shape, np.float32) for name, shape in POSE.items()}
    return state | {f"{name}.bias": rng.standard_normal(shape[0], np.float32) for name, shape in POSE.items()}


DEPTH = {f"decoder.{number}.conv.conv.weight": np.zeros((16, 16, 3, 3), np.float32) for number in range(10)}
DEPTH |= {f"decoder.{number}.conv.weight": np.zeros((1, 16, 3, 3), np.float32) for number in range(10, 14)}


@pytest.fixture
def folder(tmp_path):
    """Written in the format before PyTorch 1.6, as the released files are."""
    folder = tmp_path / "mono_640x192"
    folder.mkdir()
    size = {"height": 192, "width": 640, "use_stereo": False}
    save(encoder() | size, folder / "encoder.pth", zipped=False)
    save(DEPTH, folder / "depth.pth", zipped=False)
    save(encoder(6), folder / "pose_encoder.pth", zipped=False)
    save(pose_decoder(), folder / "pose.pth", zipped=False)
    return folder


def test_encoder_and_pose_network_come_in(folder, tmp_path, capsys):
    assert import_weights.main([f"--source={folder}", f"--output={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out
    assert "Found: encoder, pose\n" in said
    assert "normalised as there, (x - 0.45) / 0.225" in said
    assert "depth decoder (depth.pth) is another network" in said
    assert "depth_decoder" in said.partition("Missing parts, which keep their initial weights: ")[2]
    assert "pose_rotation_scale=1" in said
    record = json.loads((tmp_path / "out" / "import.json").read_text())
    assert record["model"] == {"backbone": "resnet18", "pose_backbone": "resnet18"}
    assert {"models.encoder.encoder.fc.weight", "models.depth.decoder.0.conv.conv.weight"} <= set(record["unused"])
    assert not (tmp_path / "out" / "stage.json").exists()

    params = read_published(folder).variables["params"]
    assert set(params) == {"encoder", "pose"}
    for tree, state in ((params["encoder"], encoder()), (params["pose"]["encoder"], encoder(6))):
        np.testing.assert_array_equal(
            tree["stem"]["conv"]["kernel"].transpose(3, 2, 0, 1), state["encoder.conv1.weight"]
        )
    np.testing.assert_array_equal(
        params["pose"]["decoder"]["out"]["kernel"].transpose(3, 2, 0, 1), pose_decoder()["net.3.weight"]
    )


def test_without_a_pose_network(folder):
    for name in ("pose_encoder.pth", "pose.pth"):
        (folder / name).unlink()
    weights = read_published(folder)
    assert set(weights.variables["params"]) == {"encoder"}
    assert any("no pose network" in note for note in weights.notes)


def test_half_a_pose_network_is_refused(folder):
    (folder / "pose.pth").unlink()
    with pytest.raises(ValueError, match=r"has pose_encoder\.pth, but no pose\.pth"):
        read_depth_folder(folder)


def test_another_encoder_is_refused_by_the_name_of_its_file(folder):
    save({"encoder.downsample_layers.0.weight": np.zeros(3, np.float32)}, folder / "encoder.pth")
    with pytest.raises(ValueError, match=r"(?s)encoder\.pth: no blocks of a ResNet.*downsample_layers"):
        read_published(folder)
    save(encoder(), folder / "pose_encoder.pth")
    save(encoder(), folder / "encoder.pth")
    with pytest.raises(ValueError, match=r"pose_encoder\.pth: .*for 3 instead of 6 channels"):
        read_published(folder)


def test_a_folder_around_it_is_told(folder, tmp_path):
    with pytest.raises(ValueError, match=r"no encoder\.pth.*Name the folder inside: mono_640x192"):
        read_published(tmp_path)
    with pytest.raises(ValueError, match="--prefix chooses a network in one file"):
        read_published(folder, "encoder.")
