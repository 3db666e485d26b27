"""Weight files → NumPy arrays, without PyTorch: `torch.save`'s files (both formats) and safetensors.

A `.pth` file is a pickle, which can call any function while it is read. Like `torch.load` with `weights_only=True`,
this reader knows only the few names that tensors need, and refuses a file with others.
"""

import collections
import dataclasses
import io
import json
import math
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

_DTYPES = (
    ("DoubleStorage", "F64", np.float64),
    ("FloatStorage", "F32", np.float32),
    ("HalfStorage", "F16", np.float16),
    ("BFloat16Storage", "BF16", ml_dtypes.bfloat16),
    ("LongStorage", "I64", np.int64),
    ("IntStorage", "I32", np.int32),
    ("ShortStorage", "I16", np.int16),
    ("CharStorage", "I8", np.int8),
    ("ByteStorage", "U8", np.uint8),
    ("BoolStorage", "BOOL", np.bool_),
)
"""PyTorch's storage class, name in safetensors, NumPy's dtype."""
_SAFETENSORS = {name: dtype for _, name, dtype in _DTYPES}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class WeightFileError(ValueError):
    """A weight file cannot be read; the message has its path and the reason."""


class _ForbiddenName(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: Any
    size: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A tensor whose numbers have not been read yet; in the older format they come last."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Ignored:
    """Placeholder for objects in the pickle that are not tensors, such as a NumPy scalar with the best score."""

    def __init__(self, *_):
        pass

    def __setstate__(self, _):
        pass


class _StorageType:
    """Placeholder for a class such as `torch.FloatStorage`, which pickles name but never call."""

    def __init__(self, dtype):
        self.dtype = dtype


def _rebuild_tensor(storage, offset, shape, strides, *_):
    return _Tensor(storage, int(offset), tuple(shape), tuple(strides))


def _rebuild_parameter(tensor, *_):
    return tensor


_NAMES = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): _Ignored,
    ("numpy.core.multiarray", "scalar"): _Ignored,
    ("numpy._core.multiarray", "scalar"): _Ignored,
    ("numpy", "dtype"): _Ignored,
    ("_codecs", "encode"): _Ignored,
    **{("torch", name): _StorageType(dtype) for name, _, dtype in _DTYPES},
}
"""The only names that a pickle may use; all of them only hold values."""


class _TensorUnpickler(pickle.Unpickler):
    """Builds containers, numbers, strings and `_Tensor`s, and nothing else."""

    def find_class(self, module, name):
        try:
            return _NAMES[module, name]
        except KeyError:
            raise _ForbiddenName(f"{module}.{name}") from None

    def persistent_load(self, saved_id):
        kind, storage, key, _, size, *_ = saved_id
        if kind != "storage" or not isinstance(storage, _StorageType):
            raise pickle.UnpicklingError(f"unknown persistent id {saved_id!r:.80}")
        return _Storage(str(key), np.dtype(storage.dtype), int(size))


def _materialize(value, read: Callable[[_Storage], np.ndarray]):
    """Replaces every `_Tensor` in nested containers by an array."""
    if isinstance(value, _Tensor):
        numbers = read(value.storage)
        last = value.offset + sum((n - 1) * stride for n, stride in zip(value.shape, value.strides, strict=True))
        if min((*value.shape, *value.strides, value.offset), default=0) < 0 or (
            0 not in value.shape and last >= len(numbers)
        ):
            raise ValueError("a tensor reaches beyond its storage")
        strides = [stride * numbers.itemsize for stride in value.strides]
        return np.lib.stride_tricks.as_strided(numbers[value.offset :], value.shape, strides).copy()
    if isinstance(value, dict):
        return {key: _materialize(one, read) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_materialize(one, read) for one in value]
    return value


def _read_zip(path: pathlib.Path):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next((name.removesuffix("data.pkl") for name in names if name.endswith("data.pkl")), None)
        if root is None:
            raise ValueError("it is a zip archive without data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("it is big-endian")
        content = _TensorUnpickler(io.BytesIO(archive.read(f"{root}data.pkl"))).load()
        storages = {}

        def read(storage: _Storage) -> np.ndarray:
            if storage.key not in storages:
                storages[storage.key] = np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype)
            return storages[storage.key]

        return _materialize(content, read)


def _read_legacy(path: pathlib.Path):
    """The format before PyTorch 1.6: five pickles, then each storage as a count and its numbers."""
    with path.open("rb") as file:

        def load():
            return _TensorUnpickler(file).load()

        if load() != _LEGACY_MAGIC or load() != _LEGACY_PROTOCOL:
            raise ValueError("it is a pickle, but not one that torch.save wrote")
        if not load().get("little_endian", True):
            raise ValueError("it is big-endian")
        content, keys = load(), load()
        kinds = {storage.key: storage for storage in _storages(content)}
        storages = {}
        for key in map(str, keys):
            if key not in kinds:
                raise ValueError(f"storage {key} belongs to no tensor")
            (count,) = struct.unpack("<q", _exactly(file, 8))
            dtype = kinds[key].dtype
            storages[key] = np.frombuffer(_exactly(file, count * dtype.itemsize), dtype)
        return _materialize(content, lambda storage: storages[storage.key])


def _exactly(file, size: int) -> bytes:
    content = file.read(max(size, 0))
    if len(content) != size:
        raise EOFError(f"{size - len(content)} bytes are missing at the end")
    return content


def _storages(value):
    if isinstance(value, _Tensor):
        yield value.storage
    elif isinstance(value, (dict, list, tuple)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _storages(one)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The format: a length, a JSON header with every tensor's position, then the numbers."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", _exactly(file, 8))
        if length > path.stat().st_size:
            raise EOFError("its header is cut off")
        header, numbers = json.loads(_exactly(file, length)), file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        dtype = np.dtype(_SAFETENSORS[entry["dtype"]])
        if not 0 <= begin <= end <= len(numbers) or end - begin != math.prod(entry["shape"]) * dtype.itemsize:
            raise EOFError(f"the numbers of '{name}' are cut off")
        tensors[name] = np.frombuffer(numbers[begin:end], dtype).reshape(entry["shape"])
    return tensors


def read_weight_file(path: str | pathlib.Path) -> Any:
    """Reads a file of safetensors, if its name ends in .safetensors, or else of `torch.save`.

    Returns:
      The saved object: dicts, lists, numbers and strings unchanged, tensors as arrays of their own dtype.

    Raises:
      WeightFileError: the file does not exist, is truncated or of another kind, or its pickle names something that has
        nothing to do with tensors.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise WeightFileError(f"{path} does not exist, or is not a file")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        return _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except _ForbiddenName as error:
        raise WeightFileError(
            f"{path} is refused: its pickle uses '{error}', which could run code and does not belong in a weight file. "
            "If you trust the file, load it with the software that wrote it and save only its state_dict()."
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise WeightFileError(
            f"{path} cannot be read ({error or type(error).__name__}): it is truncated, or not a weight file"
        ) from error
