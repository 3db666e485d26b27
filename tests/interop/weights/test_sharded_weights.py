"""Models of several safetensors files, their index, and folders that hold a model."""

import json

import numpy as np
import pytest

from sdeseg_jax.interop.weights.published_weights import read_published
from sdeseg_jax.interop.weights.torch_resnets import resnet_shapes
from sdeseg_jax.interop.weights.weight_files import WeightFileError, read_weight_file
from tests.interop.torch_writer import save, write_safetensors

INDEX = "model.safetensors.index.json"
STATE = {f"layer{number}.weight": np.arange(number, dtype=np.float32) for number in range(1, 7)}


def shards(folder, state=STATE):
    """Writes a model to two files and their index."""
    weight_map = {}
    for number, keys in enumerate((sorted(state)[::2], sorted(state)[1::2]), start=1):
        name = f"model-0000{number}-of-00002.safetensors"
        write_safetensors(folder / name, {key: ("F32", state[key]) for key in keys})
        weight_map |= dict.fromkeys(keys, name)
    write_index(folder, weight_map)
    return weight_map


def write_index(folder, weight_map):
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 84}, "weight_map": weight_map}))


def test_all_files_are_read_as_one(tmp_path):
    shards(tmp_path)
    state = read_weight_file(tmp_path / INDEX)
    assert state.keys() == STATE.keys()
    assert all(np.array_equal(state[key], STATE[key]) for key in STATE)


def test_missing_files_and_keys_are_named(tmp_path):
    weight_map = shards(tmp_path)
    write_index(tmp_path, {**weight_map, "layer9.weight": "model-00001-of-00002.safetensors"})
    with pytest.raises(WeightFileError, match=r"model-00001-of-00002.safetensors lacks 1 of the 4 keys.*layer9.weight"):
        read_weight_file(tmp_path / INDEX)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightFileError, match="names 2 files, of which 1 are not in its folder: 'model-00002-of-00002"):
        read_weight_file(tmp_path / INDEX)


@pytest.mark.parametrize("name", ["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", "c:\\a", "..\\a", "."])
def test_files_elsewhere_are_refused(tmp_path, name):
    write_index(tmp_path, {"conv1.weight": name})
    with pytest.raises(WeightFileError, match="is not a file beside it"):
        read_weight_file(tmp_path / INDEX)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}', "[" * 100_000, '{"a": 1, "a": 2}']
)
def test_other_json_is_refused(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(WeightFileError, match="cannot be read"):
        read_weight_file(tmp_path / INDEX)


def test_folders_and_their_files(tmp_path):
    state = {key: np.ones(shape, np.float32) for key, shape in resnet_shapes("resnet18").items()}
    with pytest.raises(WeightFileError, match=r"no encoder\.pth.*model of a hub one with model\.safetensors"):
        read_published(tmp_path)
    save(state, tmp_path / "pytorch_model.bin")
    assert "Read pytorch_model.bin." in read_published(tmp_path).notes
    shards(tmp_path, state)
    weights = read_published(tmp_path)
    assert f"Read {INDEX}." in weights.notes and len(weights.used) == 100
    with pytest.raises(WeightFileError, match=rf"is one of 2 files of a model. Name its index, {INDEX}"):
        read_published(tmp_path / "model-00001-of-00002.safetensors")
