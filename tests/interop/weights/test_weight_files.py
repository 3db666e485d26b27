"""Reading weight files: those that PyTorch 2.15 wrote (tests/interop/files), safetensors, and refused files."""

import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from sdeseg_jax.interop.weights.weight_files import WeightFileError, read_weight_file
from tests.interop.torch_writer import write_safetensors

FILES = pathlib.Path(__file__).parent / "files"


def ramp(*shape):
    return (np.arange(np.prod(shape)).reshape(shape) / 8 - 1).astype(np.float32)


EXPECTED = {
    "float": ramp(2, 3),
    "transposed": ramp(2, 3).T,
    "half": ramp(4),
    "bfloat16": ramp(4),
    "double": ramp(2),
    "counter": np.array(5),
    "empty": np.zeros((0, 3)),
    "view": ramp(20)[5:9],
    "parameter": ramp(2),
}


def check(state):
    assert list(state) == list(EXPECTED)
    for name, expected in EXPECTED.items():
        np.testing.assert_array_equal(np.asarray(state[name], np.float32), expected, err_msg=name)
    dtypes = {"half": "float16", "bfloat16": "bfloat16", "double": "float64", "counter": "int64"}
    assert {name: str(state[name].dtype) for name in dtypes} == dtypes


def test_file_of_todays_format():
    check(read_weight_file(FILES / "zip.pth"))


def test_file_of_the_format_before_1_6_with_numbers_beside_the_weights():
    content = read_weight_file(FILES / "legacy.pkl")
    assert content["epoch"] == 3 and set(content) == {"epoch", "best", "model_state"}
    check(content["model_state"])


def test_pickled_object_is_refused():
    with pytest.raises(WeightFileError, match=r"object\.pth is refused.*torch\.nn\.modules\.linear\.Linear"):
        read_weight_file(FILES / "object.pth")


class Harm:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path, zipped):
    marker, path = tmp_path / "ran", tmp_path / "harm.pth"
    content = pickle.dumps({"conv1.weight": Harm(str(marker))}, 2)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(content)
    with pytest.raises(WeightFileError, match="mkdir"):
        read_weight_file(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pkl"])
def test_truncated_file_at_any_length(tmp_path, name):
    whole, path = (FILES / name).read_bytes(), tmp_path / name
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightFileError, match=f"{name} cannot be read.*truncated"):
            read_weight_file(path)


def test_damaged_numbers_are_noticed(tmp_path):
    whole = bytearray((FILES / "zip.pth").read_bytes())
    place = bytes(whole).index(ramp(2, 3).tobytes())
    whole[place] ^= 1
    (tmp_path / "damaged.pth").write_bytes(whole)
    with pytest.raises(WeightFileError, match="CRC"):
        read_weight_file(tmp_path / "damaged.pth")


def test_tensor_beyond_its_storage_is_refused(tmp_path):
    with zipfile.ZipFile(FILES / "zip.pth") as archive, zipfile.ZipFile(tmp_path / "short.pth", "w") as short:
        for name in archive.namelist():
            short.writestr(name, archive.read(name)[: 8 if name.endswith("data/0") else None])
    with pytest.raises(WeightFileError, match="beyond its storage"):
        read_weight_file(tmp_path / "short.pth")


def test_safetensors(tmp_path):
    path = tmp_path / "weights.safetensors"
    tensors = {"a": ("F32", ramp(2, 3)), "b": ("I64", np.array(7)), "c": ("F16", ramp(4).astype(np.float16))}
    write_safetensors(path, tensors)
    read = read_weight_file(path)
    assert set(read) == {"a", "b", "c"}
    for name, (_, array) in tensors.items():
        np.testing.assert_array_equal(read[name], array)
    for cut in (1, 20, 200):
        write_safetensors(path, tensors, cut)
        with pytest.raises(WeightFileError, match=r"weights\.safetensors cannot be read.*truncated"):
            read_weight_file(path)


def test_missing_file(tmp_path):
    with pytest.raises(WeightFileError, match=r"none\.pth does not exist"):
        read_weight_file(tmp_path / "none.pth")
