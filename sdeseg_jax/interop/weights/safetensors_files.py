"""safetensors → NumPy arrays, without that library: single files, and the index of a model in several files."""

import json
import math
import pathlib
import struct

import ml_dtypes
import numpy as np

from sdeseg_jax.interop.weights.torch_archives import map_file

LARGEST_JSON = 32 << 20
"""Largest header or index that is read, in bytes. That of a ResNet-101 has 0.1 MB."""
_MOST_DIMENSIONS = 32

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
}


def is_safetensors(begin: bytes) -> bool:
    """Whether a file that begins with these bytes is a safetensors file: a length below 2³², then JSON."""
    return begin[4:9] == b"\0\0\0\0{"


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a length, a JSON header with every tensor's position, and the numbers, as views of the file.

    Raises exceptions of any type if the file is damaged.
    """
    file = memoryview(map_file(path))
    (length,) = struct.unpack("<Q", file[:8])
    if length > len(file) - 8:
        raise EOFError(f"its header claims {length} bytes and is cut off")
    header = _parse(file[8 : 8 + length])
    header.pop("__metadata__", None)
    numbers = file[8 + length :]
    tensors = {name: _tensor(name, entry, numbers) for name, entry in header.items()}
    position = 0
    for begin, end in sorted(entry["data_offsets"] for entry in header.values()):
        if begin != position:
            raise ValueError("its tensors overlap, or leave gaps")
        position = end
    if position != len(numbers):
        raise ValueError(f"{len(numbers) - position} bytes at its end belong to no tensor")
    return tensors


def _tensor(name: str, entry: dict, numbers: memoryview) -> np.ndarray:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"{name!r:.120} has an unknown dtype, {entry['dtype']!r:.40}")
    dtype, shape, (begin, end) = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
    if len(shape) > _MOST_DIMENSIONS or any(type(one) is not int or one < 0 for one in (*shape, begin, end)):
        raise ValueError(f"the shape or position of {name!r:.120} is not valid")
    if not begin <= end <= len(numbers) or end - begin != math.prod(shape) * dtype.itemsize:
        raise EOFError(f"the numbers of {name!r:.120} are cut off")
    array = np.frombuffer(numbers[begin:end], dtype).reshape(shape)
    array.flags.writeable = False
    return array


def read_weight_map(path: pathlib.Path) -> dict[str, str]:
    """Reads `….index.json`: key → name of the file, in the same folder, that holds it.

    Raises:
      ValueError: it is no such index, or names a file outside of its folder.
    """
    names = _parse(memoryview(map_file(path))).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise ValueError("it has no 'weight_map' from keys to files")
    for name in names.values():
        if any(name != kind(name).name for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath)) or name == "..":
            raise ValueError(f"it names {name!r:.120}, which is not a file beside it")
    return names


def _parse(text: memoryview) -> dict:
    if len(text) > LARGEST_JSON:
        raise ValueError(f"its JSON is larger than {LARGEST_JSON >> 20} MiB")
    content = json.loads(bytes(text), object_pairs_hook=_unique)
    if not isinstance(content, dict):
        raise ValueError("its JSON is not an object")
    return content


def _unique(pairs: list) -> dict:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("its JSON has a key twice")
    return content
