"""Writes files like `torch.save` and safetensors, without these libraries; so large test files need not be stored."""

import collections
import io
import json
import pickle
import struct
import sys
import types
import zipfile

import numpy as np

_STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "float8_e5m2": "UntypedStorage"}


def _fake_torch():
    """Modules with the names that the pickle should hold."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        raise AssertionError("only its name is written")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"

    def _rebuild_tensor_v3():
        raise AssertionError("only its name is written")

    _rebuild_tensor_v3.__module__ = "torch._utils"
    _rebuild_tensor_v3.__qualname__ = "_rebuild_tensor_v3"
    utils._rebuild_tensor_v2, utils._rebuild_tensor_v3 = _rebuild_tensor_v2, _rebuild_tensor_v3
    torch.float8_e5m2 = _Named("float8_e5m2")
    for name in _STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    torch._utils = utils
    return {"torch": torch, "torch._utils": utils}


class _Named:
    """A dtype, of which the pickle holds the name."""

    def __init__(self, name):
        self.name, self.__module__, self.__qualname__ = name, "torch", name

    def __reduce__(self):
        return self.name


class _Storage:
    def __init__(self, kind, key, array):
        self.kind, self.key, self.array = kind, key, array


class _Tensor:
    def __init__(self, rebuild, storage, dtype=None):
        self.rebuild, self.storage, self.dtype = rebuild, storage, dtype

    def __reduce__(self):
        array = self.storage.array
        strides = tuple(step // array.itemsize for step in array.strides)
        arguments = (self.storage, 0, array.shape, strides, False, collections.OrderedDict())
        return self.rebuild, arguments if self.dtype is None else (*arguments, self.dtype)


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, _Storage):
            return ("storage", value.kind, value.key, "cpu", value.array.size)
        return None


class _LegacyPickler(_Pickler):
    def persistent_id(self, value):
        saved_id = super().persistent_id(value)
        return saved_id and (*saved_id, None)  # no view of another storage


def save(content, path, zipped=True):
    """Saves nested dicts of arrays and plain values; arrays become tensors."""
    modules = _fake_torch()
    hidden = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        storages = []

        def convert(value):
            if isinstance(value, dict):
                return collections.OrderedDict((key, convert(one)) for key, one in value.items())
            if isinstance(value, np.ndarray):
                kind = getattr(modules["torch"], _STORAGES[value.dtype.name])
                storages.append(_Storage(kind, str(len(storages)), np.ascontiguousarray(value).reshape(value.shape)))
                if value.dtype.name.startswith("float8"):  # younger than the storage classes: as bytes
                    dtype = getattr(modules["torch"], value.dtype.name)
                    return _Tensor(modules["torch._utils"]._rebuild_tensor_v3, storages[-1], dtype)
                return _Tensor(modules["torch._utils"]._rebuild_tensor_v2, storages[-1])
            return value

        stream = io.BytesIO()
        (_Pickler if zipped else _LegacyPickler)(stream, 2).dump(convert(content))
    finally:
        for name, module in hidden.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", stream.getvalue())
            archive.writestr("archive/byteorder", "little")
            for storage in storages:
                archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
            archive.writestr("archive/version", "3\n")
        return
    with open(path, "wb") as file:
        information = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
        for header in (0x1950A86A20F9469CFC6C, 1001, information):
            pickle.dump(header, file, 2)
        file.write(stream.getvalue())
        pickle.dump([storage.key for storage in storages], file, 2)
        for storage in storages:
            file.write(struct.pack("<q", storage.array.size) + storage.array.tobytes())


def write_safetensors(path, tensors, cut=0):
    """Writes {name: (dtype's name, array)}, the last `cut` bytes missing."""
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, array) in tensors.items():
        content = array.tobytes()
        offsets = [len(numbers), len(numbers) + len(content)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        numbers += content
    text = json.dumps(header).encode()
    whole = struct.pack("<Q", len(text)) + text + numbers
    path.write_bytes(whole[: len(whole) - cut])
