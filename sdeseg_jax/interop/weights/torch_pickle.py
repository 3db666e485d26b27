"""The pickles inside `torch.save`'s files → plain containers and descriptions of tensors, without running any code.

Python's own unpickler calls what a pickle names, and reserves whatever memory it asks for. This reader interprets the
few opcodes that a file of tensors needs, knows the few names that belong in one, and never calls anything else. What
it builds takes memory in proportion to the pickle's length.
"""

import dataclasses
import itertools
import math
import pickletools
from collections.abc import Iterator
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

LARGEST_PICKLE = 64 << 20
"""Largest pickle that is read, in bytes; a ResNet-101's has 0.1 MB. The arrays are not part of it."""
_MOST_DIMENSIONS = 32
_MOST_REPEATED = 1 << 20
"""Largest tensor that may hold a stored number more than once, as `torch.Tensor.expand` makes them."""
_DEEPEST = 32
"""Deepest nesting of a checkpoint's dicts and lists."""


class ForbiddenName(Exception):
    """A pickle names something that does not belong in a file of tensors.

    Attributes:
      name: 'module.name'.
      is_module: whether the pickle holds a `torch.nn.Module`, that is, `torch.save(model)` wrote it.
    """

    def __init__(self, name: str, is_module: bool):
        super().__init__(name)
        self.name, self.is_module = name, is_module


@dataclasses.dataclass(frozen=True)
class Storage:
    """Numbers that one or more tensors view, `size` of them from `offset` on, in units of `dtype`."""

    key: str
    dtype: np.dtype
    size: int
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor whose numbers have not been read: offset and strides count numbers of `dtype`."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Ignored:
    """Placeholder for objects that are not tensors, such as command line arguments or a NumPy array of scores."""


@dataclasses.dataclass(frozen=True)
class _StorageType:
    """Placeholder for a class such as `torch.FloatStorage`, which pickles name but never call."""

    dtype: np.dtype


_IGNORED = Ignored()


def _ignore(*_):
    return _IGNORED


def _rebuild_tensor(storage, offset, shape, strides, *_) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    return _tensor(storage, storage.dtype, offset, shape, strides)


def _rebuild_tensor_of_dtype(storage, offset, shape, strides, _, __, dtype, *___) -> Tensor:
    """How PyTorch writes dtypes that are younger than its storage classes: as bytes."""
    if not isinstance(storage, Storage) or storage.dtype != np.uint8 or not isinstance(dtype, np.dtype):
        raise ValueError("a tensor has no storage, or no known dtype")
    return _tensor(storage, dtype, offset, shape, strides)


def _tensor(storage, dtype, offset, shape, strides) -> Tensor:
    if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError("a tensor's shape and strides do not fit each other")
    if not all(map(_is_count, (offset, *shape, *strides))):
        raise ValueError("a tensor's offset, shape or strides are not valid")
    return Tensor(storage, dtype, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor, *_):
    return tensor


def _rebuild_from_type(function, _, arguments, *__):
    """How PyTorch writes buffers, and tensors with attributes."""
    if function not in (_rebuild_tensor, _rebuild_tensor_of_dtype, _rebuild_parameter):
        raise ValueError("its pickle builds a tensor in an unknown way")
    return function(*arguments)


def _ordered_dict(items=()) -> dict:
    return {key: value for key, value in items if _is_plain(key)}


def _size(values=()) -> tuple:
    return tuple(values)


_STORAGE_TYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
    "UntypedStorage": np.uint8,
}
_DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint8": np.uint8,
    "bool": np.bool_,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
_IGNORED_NAMES = (
    ("torch", "device"),
    ("torch", "Tensor"),
    ("torch.nn.parameter", "Buffer"),
    ("torch.nn.parameter", "Parameter"),
    ("argparse", "Namespace"),  # of DINO, MoCo, ...
    ("pathlib", "PosixPath"),
    ("_codecs", "encode"),
    ("builtins", "set"),
    ("__builtin__", "set"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core, name in itertools.product(("core", "_core"), ("scalar", "_reconstruct"))
    ),
    ("pytorch_lightning.utilities.parsing", "AttributeDict"),
    ("lightning_fabric.utilities.data", "AttributeDict"),
    ("lightning.fabric.utilities.data", "AttributeDict"),
)
_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_of_dtype,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch", "Size"): _size,
    **{key: _ignore for key in _IGNORED_NAMES},
    **{("torch", name): np.dtype(dtype) for name, dtype in _DTYPES.items()},
    **{
        (module, name): _StorageType(np.dtype(dtype))
        for module, (name, dtype) in itertools.product(("torch", "torch.storage"), _STORAGE_TYPES.items())
    },
}
"""The only names that a pickle may use. The functions among them only build what this module defines."""
_FUNCTIONS = frozenset(value for value in _NAMES.values() if callable(value))

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 "
    "STRING SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8".split()
)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


def _is_plain(key) -> bool:
    """Whether a dict may have this key. Weights never have others; they are dropped, as hashing them can take long."""
    return key is None or isinstance(key, (str, int, float, bytes))


class TensorUnpickler:
    """Builds dicts, lists, tuples, numbers, strings and `Tensor`s, and nothing else.

    Attributes:
      storages: every storage that the pickle mentioned, by key; a view of another storage is under the other's key.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.storages: dict[str, Storage] = {}

    def load(self):
        """Reads one pickle and leaves the stream behind it.

        Raises:
          ForbiddenName: it names something that does not belong in a file of tensors.
          Exception: it is damaged; of any type.
        """
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._copied = 0
        begin = self._stream.tell()
        operations = pickletools.genops(self._stream)
        for opcode, argument, position in operations:
            if (position or 0) - begin > LARGEST_PICKLE:
                raise ValueError(f"its pickle is longer than {LARGEST_PICKLE >> 20} MiB")
            if opcode.name == "STOP":
                return self._stack.pop()
            if opcode.name in ("GLOBAL", "STACK_GLOBAL"):
                self._push_global(opcode.name, argument, operations)
            else:
                self._run(opcode.name, argument, (position or 0) - begin)
        raise EOFError("its pickle has no end")

    def _run(self, name: str, argument, length: int) -> None:
        stack, memo = self._stack, self._memo
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _TUPLES:
            stack.append(tuple(self._pop(_TUPLES[name])))
        elif name == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in ("APPEND", "APPENDS"):
            values = self._pop(1) if name == "APPEND" else self._pop_to_mark()
            if isinstance(stack[-1], list):  # else of a placeholder
                stack[-1].extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = self._pop(2) if name == "SETITEM" else self._pop_to_mark()
            if isinstance(stack[-1], dict):
                pairs = zip(values[::2], values[1::2], strict=True)
                stack[-1].update((key, value) for key, value in pairs if _is_plain(key))
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = self._pop(2)
            # Arguments are copied. Honest pickles have written each of them before, one byte or more apiece.
            self._copied += len(arguments) + sum(len(one) for one in arguments if isinstance(one, (list, tuple)))
            if not callable(function) or function not in _FUNCTIONS or self._copied > 8 * length:
                raise ValueError("its pickle calls something that is not a function of tensors")
            stack.append(function(*arguments))
        elif name == "BUILD":  # attributes of a state dict (versions of layers) or of a placeholder
            self._pop(1)
            if not isinstance(stack[-1], (dict, Ignored)):
                raise ValueError("its pickle sets attributes of a tensor")
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"its pickle uses {name}, which torch.save does not write")

    def _pop(self, count: int) -> list[Any]:
        values = self._stack[len(self._stack) - count :]
        if len(values) != count or any(value is _MARK for value in values):
            raise ValueError("its pickle is damaged")
        del self._stack[len(self._stack) - count :]
        return values

    def _pop_to_mark(self) -> list[Any]:
        values = list(itertools.takewhile(lambda value: value is not _MARK, reversed(self._stack)))
        del self._stack[len(self._stack) - len(values) - 1 :]
        return values[::-1]

    def _push_global(self, opcode: str, argument, rest: Iterator) -> None:
        module, name = argument.split(" ", 1) if opcode == "GLOBAL" else self._pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("its pickle is damaged")
        if (module, name) not in _NAMES:
            texts = itertools.chain([module], (text for _, text, _ in rest if isinstance(text, str)))
            raise ForbiddenName(f"{module}.{name}", any(text.startswith("torch.nn.modules.") for text in texts))
        self._stack.append(_NAMES[module, name])

    def _storage(self, saved_id) -> Storage:
        kind, storage, *rest = saved_id
        if kind == "module":  # how the older format writes a class of the user's
            raise ForbiddenName("torch.nn.Module", True)
        key, _, size, *views = rest
        if kind != "storage" or not isinstance(storage, _StorageType) or not isinstance(key, (str, int)):
            raise ValueError("its pickle refers to something other than a storage")
        whole = Storage(str(key), storage.dtype, size)
        if not _is_count(size) or self.storages.setdefault(whole.key, whole) != whole:
            raise ValueError("its storages are damaged")
        if not views or views[0] is None:
            return whole
        _, offset, count = views[0]  # a storage that is a part of another one, in files before PyTorch 0.4
        if not _is_count(offset) or not _is_count(count) or offset + count > size:
            raise ValueError("a storage reaches beyond the one that it is a part of")
        return dataclasses.replace(whole, size=count, offset=offset)


def _is_count(value) -> bool:
    return type(value) is int and value >= 0


def view_of(tensor: Tensor, numbers: np.ndarray) -> np.ndarray:
    """Returns a tensor's array, a view of its storage's numbers: no memory is needed.

    Raises:
      ValueError: it reaches beyond its storage, or repeats its numbers so often that a copy would be large.
    """
    count = math.prod(tensor.shape)
    if not count:
        return np.zeros(tensor.shape, tensor.dtype)
    numbers = numbers.view(tensor.dtype)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if last >= len(numbers):
        raise ValueError("a tensor reaches beyond its storage")
    if count > max(len(numbers), _MOST_REPEATED):
        raise ValueError(f"a tensor of shape {tensor.shape} repeats {len(numbers)} stored numbers")
    size = numbers.itemsize
    strides = [stride * size for stride in tensor.strides]
    array = np.ndarray(tensor.shape, tensor.dtype, numbers.view(np.uint8), tensor.offset * size, strides)
    array.flags.writeable = False
    return array


def replace_tensors(value, array_of, depth: int = 0, done: dict[int, Any] | None = None):
    """Returns nested containers with `array_of(tensor)` in the place of every `Tensor`.

    Containers that occur several times are built once. Raises ValueError if they nest too deeply.
    """
    done = {} if done is None else done
    if isinstance(value, Tensor):
        return array_of(value)
    if not isinstance(value, (dict, list, tuple)):
        return value
    if depth > _DEEPEST:
        raise ValueError(f"its containers nest more than {_DEEPEST} deep")
    if id(value) not in done:
        deeper = (array_of, depth + 1, done)
        if isinstance(value, dict):
            done[id(value)] = {key: replace_tensors(one, *deeper) for key, one in value.items()}
        else:
            done[id(value)] = [replace_tensors(one, *deeper) for one in value]
    return done[id(value)]
