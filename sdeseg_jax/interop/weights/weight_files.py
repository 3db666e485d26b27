"""Weight files → NumPy arrays, without PyTorch: `torch.save`'s files (both formats) and safetensors.

A `.pth` file is a pickle, which can call any function while it is read. Like `torch.load` with `weights_only=True`,
this reader knows only the few names that tensors need, and refuses a file with others.
"""

import pathlib
import zipfile
from typing import Any

import numpy as np

from sdeseg_jax.interop.weights.safetensors_files import is_safetensors, read_safetensors, read_weight_map
from sdeseg_jax.interop.weights.torch_archives import UnsupportedFile, read_archive, read_legacy
from sdeseg_jax.interop.weights.torch_pickle import ForbiddenName

FOLDER_NAMES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
"""Names under which a folder holds the weights of one model, in the order of preference."""
_LISTED = 4

_PAGE = "an HTML or XML page instead of a weight file. Download it again; the site may ask for a login"
_TAR = (
    "a tar archive: PyTorch's format before 0.1.10, or several files. If torch.load reads it, save it again: "
    "torch.save(torch.load(file, weights_only=False), 'weights.pth'); else unpack it"
)
_OTHER_KINDS = (
    (0, b"version https://git-lfs", "a pointer of Git LFS instead of the file itself. Fetch it with 'git lfs pull'"),
    (0, b"<!", _PAGE),
    (0, b"<html", _PAGE),
    (0, b"<?xml", _PAGE),
    (0, b"\x1f\x8b", "compressed with gzip. Unpack it first"),
    (0, b"\x89HDF", "an HDF5 file. Weights of Keras are not known; use those of PyTorch"),
    (0, b"PK\5\6", "an empty zip archive"),
    (257, b"ustar", _TAR),
)
"""(Position, bytes, what a file with these bytes is and what to do)."""
_OTHER_TENSORS = {
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse",
    "torch._utils._rebuild_meta_tensor_no_storage": "without numbers ('meta')",
}


class WeightFileError(ValueError):
    """A weight file cannot be read; the message has its path and the reason."""


def read_weight_file(path: str | pathlib.Path) -> Any:
    """Reads a file that `torch.save` or safetensors wrote, or the `….index.json` of a model in several files.

    The content decides of which kind a file is, except that an index ends in `.json`.

    Returns:
      The saved object: dicts, lists, numbers and strings unchanged, tensors as arrays of their own dtype. These are
      read-only views of the file, which must not be overwritten while they are in use (removing it is fine).

    Raises:
      WeightFileError: the file does not exist, is truncated or of another kind, or its pickle names something that has
        nothing to do with tensors.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise WeightFileError(f"{path} does not exist, or is not a file")
    try:
        return _read_shards(path) if path.suffix == ".json" else _read(path)
    except WeightFileError:
        raise
    except ForbiddenName as error:
        raise WeightFileError(f"{path} is refused: {_forbidden(error)}") from error
    except UnsupportedFile as error:
        raise WeightFileError(f"{path} is {error}.") from error
    except OSError as error:
        raise WeightFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise WeightFileError(f"{path} cannot be read: it needs more memory than there is") from error
    except Exception as error:  # a damaged pickle can fail in any way
        reason = str(error) if isinstance(error, (ValueError, EOFError, zipfile.BadZipFile)) else ""
        raise WeightFileError(
            f"{path} cannot be read ({reason or type(error).__name__}): it is truncated, or not a weight file. "
            "Download it again."
        ) from error


def _read(path: pathlib.Path):
    with path.open("rb") as file:
        begin = file.read(512)
    if is_safetensors(begin):
        return read_safetensors(path)
    for position, magic, words in _OTHER_KINDS:
        if begin[position:].startswith(magic):
            raise UnsupportedFile(words)
    if begin.startswith(b"PK\3\4"):
        return read_archive(path)
    return read_safetensors(path) if path.suffix == ".safetensors" else read_legacy(path)


def _forbidden(error: ForbiddenName) -> str:
    if error.is_module:
        return (
            f"it holds a whole pickled module ({error.name!a:.120}), as torch.save(model) writes it, and to load it is "
            "to run code. Save its weights alone, with PyTorch and the code of the module: "
            "torch.save(model.state_dict(), 'weights.pth')."
        )
    if error.name in _OTHER_TENSORS:
        return f"its tensors are {_OTHER_TENSORS[error.name]}, which cannot be imported. Save them as float32."
    return (
        f"its pickle uses {error.name!a:.120}, which could run code and does not belong in a weight file. "
        "If you trust the file, load it with the software that wrote it and save only its state_dict()."
    )


def _read_shards(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the files that an index names, and takes from each the keys that the index expects there."""
    weight_map = read_weight_map(path)
    names = sorted(set(weight_map.values()))
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise WeightFileError(
            f"{path} names {len(names)} files, of which {len(missing)} are not in its folder: {_list(missing)}. "
            "Download them into the same folder."
        )
    state: dict[str, np.ndarray] = {}
    for name in names:
        content = read_weight_file(path.parent / name)
        expected = [key for key, file in weight_map.items() if file == name]
        absent = [key for key in expected if not isinstance(content, dict) or key not in content]
        if absent:
            raise WeightFileError(
                f"{path.parent / name} lacks {len(absent)} of the {len(expected)} keys that {path.name} expects "
                f"there: {_list(absent)}. The index is of another version of these files; download all of them again."
            )
        state |= {key: content[key] for key in expected}
    return state


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(f"{name!r:.120}" for name in names[:_LISTED]) + more


def weight_file_in(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the file in a folder that holds one model's weights, by its usual names; None if there is none."""
    return next((folder / name for name in FOLDER_NAMES if (folder / name).is_file()), None)
