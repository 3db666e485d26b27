"""`torch.save`'s two formats, a zip archive and the older one → containers of NumPy arrays, without PyTorch.

Arrays are views of the file, which is mapped into memory: only those that are used take memory. A file that claims to
hold more than it does is refused before anything is read.
"""

import io
import math
import mmap
import pathlib
import struct
import zipfile
import zlib

import numpy as np

from sdeseg_jax.interop.weights.torch_pickle import (
    LARGEST_PICKLE,
    Storage,
    Tensor,
    TensorUnpickler,
    replace_tensors,
    view_of,
)

LARGEST_INFLATED = 1 << 30
"""Most bytes that compressed members of a zip archive may have together. torch.save does not compress."""
_PIECE = 1 << 20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class UnsupportedFile(Exception):
    """A file is of another kind than weights; the message continues 'FILE is …' and says what to do."""


def map_file(path: pathlib.Path) -> mmap.mmap:
    """Returns a file's bytes, which are read when they are used. Raises ValueError if it is empty."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def read_archive(path: pathlib.Path):
    """Reads the format since PyTorch 1.6. Raises exceptions of any type if the file is damaged."""
    with zipfile.ZipFile(path) as archive:
        members = _Members(archive, map_file(path))
    root = members.root()
    if members.read(f"{root}byteorder", b"little") != b"little":
        raise ValueError("it is big-endian")
    unpickler = TensorUnpickler(io.BytesIO(members.read(f"{root}data.pkl", largest=LARGEST_PICKLE)))
    content = unpickler.load()
    storages: dict[str, np.ndarray] = {}

    def array_of(tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        if storage.key not in storages:
            whole = unpickler.storages[storage.key]
            numbers = members.read(f"{root}data/{storage.key}")
            if len(numbers) != whole.size * whole.dtype.itemsize:
                raise ValueError(f"storage {storage.key} has {len(numbers)} bytes: a tensor reaches beyond its storage")
            storages[storage.key] = np.frombuffer(numbers, whole.dtype)
        return view_of(tensor, _part(storages, storage))

    return replace_tensors(content, array_of)


def _part(storages: dict[str, np.ndarray], storage: Storage) -> np.ndarray:
    return storages[storage.key][storage.offset : storage.offset + storage.size]


class _Members:
    """Members of a zip archive, as views of the file if they are not compressed."""

    def __init__(self, archive: zipfile.ZipFile, file: mmap.mmap):
        self._archive, self._file = archive, memoryview(file)
        self._infos = {info.filename: info for info in archive.infolist()}
        inflated = 0
        for info in self._infos.values():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
                raise ValueError(f"its member {info.filename!r:.80} is encrypted, or compressed in an unusual way")
            if info.compress_type == zipfile.ZIP_DEFLATED:
                inflated += info.file_size
            elif info.file_size != info.compress_size:
                raise ValueError(f"its member {info.filename!r:.80} has two sizes")
        if inflated > LARGEST_INFLATED:
            raise ValueError(
                f"it is compressed and claims to hold {inflated / 2**30:.1f} GiB; at most {LARGEST_INFLATED >> 30} GiB "
                "are unpacked. torch.save does not compress"
            )
        if sum(info.compress_size for info in archive.infolist()) > len(self._file):
            raise ValueError("its members claim to be larger than the file")

    def root(self) -> str:
        """Returns the folder of `data.pkl`, with its slash."""
        names = list(self._infos)
        found = [name.removesuffix("data.pkl") for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        root = min(found, key=len, default=None)
        if root is not None and any(name.startswith((f"{root}code/", f"{root}constants.pkl")) for name in names):
            raise UnsupportedFile(
                "a TorchScript archive (torch.jit.save), which holds a program. Save its weights with PyTorch: "
                "torch.save(torch.jit.load(file, map_location='cpu').state_dict(), 'weights.pth')"
            )
        if root is not None:
            return root
        inside = [ascii(name) for name in names if name.endswith((".pth", ".pt", ".pkl", ".safetensors", ".bin"))]
        if inside:
            raise UnsupportedFile(
                f"a zip archive of files ({', '.join(inside[:4])}). Unpack it and name what is inside"
            )
        raise UnsupportedFile("a zip archive without data.pkl, so it was not written by torch.save")

    def read(
        self, name: str, default: bytes | None = None, largest: float = math.inf
    ) -> bytes | bytearray | memoryview:
        """Returns a member's bytes after comparing their checksum; `default` if there is no such member."""
        if name not in self._infos:
            if default is None:
                raise ValueError(f"its member {name!r:.80} is missing")
            return default
        info = self._infos[name]
        if info.file_size > largest:
            raise ValueError(f"its member {name!r:.80} is larger than {largest / 2**20:.0f} MiB")
        content = self._stored(info)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            content = _inflate(content, info.file_size)
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise ValueError(f"the CRC-32 of its member {name!r:.80} is wrong")
        return content

    def _stored(self, info: zipfile.ZipInfo) -> memoryview:
        header = self._file[info.header_offset : info.header_offset + 30]
        signature, name, extra = struct.unpack("<4s22xHH", header)
        if signature != b"PK\3\4":
            raise ValueError(f"the header of its member {info.filename!r:.80} is damaged")
        begin = info.header_offset + 30 + name + extra
        return self._file[begin : begin + info.compress_size]


def _inflate(content: memoryview, size: int) -> bytearray:
    """Returns a compressed member; raises ValueError as soon as it turns out longer than it claims."""
    inflater, inflated = zlib.decompressobj(-15), bytearray()
    for begin in range(0, len(content), _PIECE):
        rest = content[begin : begin + _PIECE]
        while True:
            piece = inflater.decompress(rest, _PIECE)
            inflated += piece
            if len(inflated) > size:
                raise ValueError("a compressed member is longer than it claims")
            rest = inflater.unconsumed_tail
            if not rest and len(piece) < _PIECE:
                break
    return inflated


def read_legacy(path: pathlib.Path):
    """Reads the format before PyTorch 1.6: five pickles, then each storage as a count and its numbers."""
    file = map_file(path)
    magic = TensorUnpickler(file).load()
    if magic != _LEGACY_MAGIC or TensorUnpickler(file).load() != _LEGACY_PROTOCOL:
        raise UnsupportedFile("a pickle that torch.save did not write. Save the arrays with torch.save or safetensors")
    if not TensorUnpickler(file).load().get("little_endian", True):
        raise ValueError("it is big-endian")
    unpickler = TensorUnpickler(file)
    content = unpickler.load()
    keys = TensorUnpickler(file).load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is damaged")
    view, position = memoryview(file), file.tell()
    storages: dict[str, np.ndarray] = {}
    for key in keys:
        if key not in unpickler.storages:
            raise ValueError(f"storage {key!s:.80} belongs to no tensor")
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", view[position : position + 8])
        begin = position + 8
        position = begin + count * storage.dtype.itemsize
        if count != storage.size:
            raise ValueError(f"storage {key:.80} claims {count} numbers instead of {storage.size}")
        if position > len(view):
            raise EOFError(f"{position - len(view)} bytes are missing at the end")
        storages[key] = np.frombuffer(view[begin:position], storage.dtype)
    return replace_tensors(content, lambda tensor: view_of(tensor, _part(storages, tensor.storage)))
