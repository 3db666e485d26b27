"""Files that are not weights, or claim to be larger than they are: refused in words, before memory is spent."""

import io
import json
import pickle
import struct
import tarfile
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from sdeseg_jax.interop.weights.published_weights import read_published
from sdeseg_jax.interop.weights.weight_files import WeightFileError, read_weight_file
from tests.interop.torch_writer import save, write_safetensors

STATE = {"conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)}


def refused(path, message, most=4 << 20):
    """Checks the message, and that no more memory than `most` was allocated meanwhile."""
    tracemalloc.start()
    try:
        with pytest.raises(WeightFileError, match=f"(?s){message}"):
            read_weight_file(path)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def legacy(path, *pickles, numbers=b""):
    """The older format around pickles that are made by hand."""
    header = b"".join(pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    path.write_bytes(header + b"".join(pickles) + numbers)
    return path


@pytest.mark.parametrize(
    "content, message",
    [
        (b"<!DOCTYPE html><html>", "is an HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS.*git lfs pull"),
        (b"\x1f\x8b\x08rest", "compressed with gzip"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"PK\5\6" + bytes(18), "an empty zip archive"),
        (b"", "cannot be read"),
        (pickle.dumps({"conv1.weight": [1.0]}), "a pickle that torch.save did not write"),
        (pickle.dumps(np.zeros(3)), "a pickle that torch.save did not write"),
    ],
)
def test_files_of_another_kind(tmp_path, content, message):
    (tmp_path / "weights.pth").write_bytes(content)
    refused(tmp_path / "weights.pth", message)


def test_archives_of_another_kind(tmp_path):
    with tarfile.open(tmp_path / "old.pth", "w") as file:
        file.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    refused(tmp_path / "old.pth", "tar archive: PyTorch's format before 0.1.10")
    members = {"net/data.pkl": b"", "net/constants.pkl": b"", "net/code/__torch__.py": b""}
    refused(archive(tmp_path / "script.pt", members), r"TorchScript archive.*torch\.jit\.load")
    refused(archive(tmp_path / "mono.zip", {"mono/encoder.pth": b""}), "zip archive of files.*Unpack it")
    refused(archive(tmp_path / "other.zip", {"readme.txt": b""}), r"without data\.pkl")


def test_module_is_refused_with_the_way_out():
    from tests.interop.weights.test_weight_files import FILES

    refused(FILES / "object.pth", r"whole pickled module.*torch\.save\(model\.state_dict\(\), 'weights\.pth'\)")


def test_float8_is_refused_with_its_keys(tmp_path):
    tensors = {"conv1.weight": ("F8_E4M3", np.zeros((64, 3, 7, 7), ml_dtypes.float8_e4m3fn))}
    write_safetensors(tmp_path / "quantised.safetensors", tensors)
    assert read_weight_file(tmp_path / "quantised.safetensors")["conv1.weight"].dtype == ml_dtypes.float8_e4m3fn
    save({"conv1.weight": np.zeros(8, ml_dtypes.float8_e5m2)}, tmp_path / "quantised.pth")
    assert read_weight_file(tmp_path / "quantised.pth")["conv1.weight"].dtype == ml_dtypes.float8_e5m2
    write_safetensors(tmp_path / "quantised.safetensors", {"conv1.weight": ("F4", np.zeros(3, np.int8))})
    refused(tmp_path / "quantised.safetensors", "'conv1.weight' has an unknown dtype, 'F4'")


def patched_directory(path, size):
    """Changes the size that the first member claims in the archive's directory."""
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


def test_compressed_archive_is_read_within_bounds(tmp_path):
    save(STATE, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as file:
        members = {name: file.read(name) for name in file.namelist()}
    packed = archive(tmp_path / "packed.pth", members)
    np.testing.assert_array_equal(read_weight_file(packed)["conv1.weight"], STATE["conv1.weight"])
    refused(patched_directory(packed, 4_000_000_000), r"claims to hold 3\.7 GiB; at most 1 GiB")
    bomb = archive(tmp_path / "bomb.pth", {"net/data.pkl": bytes(20 << 20)})
    refused(patched_directory(bomb, 1000), "longer than it claims")
    refused(patched_directory(bomb, 30 << 20), "CRC", most=40 << 20)  # it holds 20 MiB
    refused(patched_directory(bomb, 900 << 20), "'net/data.pkl' is larger than 64 MiB")
    with zipfile.ZipFile(tmp_path / "odd.pth", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("net/data.pkl", bytes(1000))
    refused(tmp_path / "odd.pth", "unusual way")


def test_members_that_share_bytes_are_refused(tmp_path):
    """A thousand entries of the directory for the same megabyte."""
    path = tmp_path / "shared.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("net/data.pkl", bytes(1 << 20))
        info = file.filelist[0]
        for number in range(1000):
            copy = zipfile.ZipInfo(f"net/data/{number}")
            copy.CRC, copy.compress_size, copy.file_size, copy.header_offset = info.CRC, 1 << 20, 1 << 20, 0
            file.filelist.append(copy)
    refused(path, "larger than the file")


def header(path, text, numbers=b"", length=None):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + numbers)
    return path


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "text, numbers, length, message",
    [
        ({}, b"", 10 * 2**30, "header claims 10737418240 bytes"),
        ({}, b"", 2**64 - 1, "header claims"),
        ({"a": entry([2**40], 0, 2**42)}, b"", None, "'a' are cut off"),
        ({"a": entry([2**62, 2**62], 0, 8)}, bytes(8), None, "'a' are cut off"),
        ({"a": entry([-1, -2], 0, 8)}, bytes(8), None, "shape or position of 'a'"),
        ({"a": entry([2.0], 0, 8)}, bytes(8), None, "shape or position of 'a'"),
        ({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8), None, "overlap"),
        ({"a": entry([2], 0, 8), "b": entry([1], 12, 16)}, bytes(16), None, "gaps"),
        ({"a": entry([2], 0, 8)}, bytes(12), None, "4 bytes at its end"),
        (b'{"a": 1, "a": 2}', b"", None, "key twice"),
        (b"[" * 50_000, b"", None, "RecursionError"),
        (b"[]", b"", None, "not an object"),
        ({"a": 3}, b"", None, "truncated, or not a weight file"),
    ],
)
def test_safetensors_that_claim_too_much(tmp_path, text, numbers, length, message):
    refused(header(tmp_path / "a.safetensors", text, numbers, length), message, most=16 << 20)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integers(*values):
    return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", one) for one in values) + b"t"


def tensor(shape, strides, size=4, part=b"N"):
    """A pickle of a tensor that views the storage '0', or a part of it."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + integers(size)[1:-1] + part
    arguments = b"(" + storage + b"tQK\0" + integers(*shape) + integers(*strides) + b"\x89}t"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R."


NUMBERS = pickle.dumps(["0"], 2) + struct.pack("<q", 4) + np.arange(4, dtype=np.float32).tobytes()


def test_views_of_a_storage(tmp_path):
    path = legacy(tmp_path / "a.pth", tensor([2, 2], [1, 2]), NUMBERS)
    np.testing.assert_array_equal(read_weight_file(path), [[0, 2], [1, 3]])
    np.testing.assert_array_equal(read_weight_file(legacy(path, tensor([3, 2], [0, 1]), NUMBERS)), [[0, 1]] * 3)
    part = b"(" + text("1") + b"K\1K\2t"  # numbers 1 and 2 of the storage, before PyTorch 0.4
    np.testing.assert_array_equal(read_weight_file(legacy(path, tensor([2], [1], part=part), NUMBERS)), [1, 2])
    refused(legacy(path, tensor([3], [1], part=part), NUMBERS), "beyond its storage")
    refused(legacy(path, tensor([5], [1]), NUMBERS), "beyond its storage")
    refused(legacy(path, tensor([2], [-1]), NUMBERS), "not valid")
    refused(legacy(path, tensor([2, 1], [1]), NUMBERS), "do not fit")
    refused(legacy(path, tensor([2**40], [0]), NUMBERS), "repeats 4 stored numbers")
    refused(legacy(path, tensor([4], [1], size=5), NUMBERS), "claims 4 numbers instead of 5")


def nested(begin, step, count=100):
    return b"\x80\x02" + begin + step * count


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a memo of 2³¹ entries
        b"\x80\x04\x8e" + struct.pack("<Q", 10 * 2**30) + b"x.",  # bytes of 10 GB
        b"\x80\x05\x96" + struct.pack("<Q", 10 * 2**30) + b"x.",
        b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",  # an integer of 2 GB
        b"\x80\x02]q\0h\0a.",  # a list that contains itself
        nested(b"]", b"]\x85", 1000) + b".",
        nested(b")", b"q\0h\0\x86", 100) + b".",  # pairs of pairs: 2¹⁰⁰ entries
        nested(b"})", b"q\0h\0\x86", 100) + b"K\1s.",  # such a pair as a key, which would be hashed
        b"\x80\x02(" + b"K\1" * 50_000 + b"tq\0" + b"ctorch\nSize\nh\0\x85R0" * 10_000 + b".",  # copies of copies
        b"\x80\x02ctorch\nFloatStorage\n}X\5\0\0\0dtypeK\1sb.",  # would change the reader itself
        b"\x80\x02cbuiltins\nset\nq\0)R" + b".",
        b"\x80\x02h\0.",
        b"\x80\x02ta.",
        b"\x80\x02(Q.",
    ],
)
def test_pickles_that_are_made_to_harm(tmp_path, content):
    """They end quickly, with an error or an object without tensors; `read_published` refuses either."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            read_published(legacy(tmp_path / "harm.pth", content, pickle.dumps([], 2)))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
