"""Damaged weight files: whatever happens to a file, it is read as it was, or refused with a ValueError."""

import io
import json
import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from sdeseg_jax.interop.weights.published_weights import read_published
from sdeseg_jax.interop.weights.weight_files import read_weight_file
from tests.interop.torch_writer import save, write_safetensors

CASES = 500
KINDS = ("a.pth", "packed.pth", "pickle.pth", "legacy.pth", "a.safetensors", "model.safetensors.index.json")
MOST = 8 << 20
"""Bytes that may be allocated while a file of a few kB is read."""

STATE = {
    "module.conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "module.layer1.0.conv1.weight": np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2),
    "module.bn1.num_batches_tracked": np.array(3),
}


def repacked(content, change=None):
    """Writes a zip archive again, compressed, or with `change(pickle)` in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            member = old.read(name)
            kind = zipfile.ZIP_DEFLATED if change is None else zipfile.ZIP_STORED
            new.writestr(name, change(member) if change and name.endswith(".pkl") else member, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    checkpoint = {"epoch": 1, "state_dict": STATE, "optimizer": {"state": {0: {"step": np.array(1)}}}}
    save(checkpoint, folder / "a.pth")
    save(checkpoint, folder / "legacy.pth", zipped=False)
    tensors = {key: ("I64" if "num" in key else "F32", value) for key, value in STATE.items()}
    write_safetensors(folder / "a.safetensors", tensors)
    index = {"metadata": {"total_size": 168}, "weight_map": dict.fromkeys(STATE, "a.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**files, "packed.pth": repacked(files["a.pth"]), "pickle.pth": files["a.pth"]}


def damage(content, rng):
    """Returns a damaged copy, and whether it was only cut off."""
    content, place = bytearray(content), int(rng.integers(len(content)))
    size = int(rng.integers(1, 9))
    match rng.integers(7):
        case 0:
            return bytes(content[:place]), True
        case 1:  # single bits
            for one in rng.integers(len(content), size=size):
                content[one] ^= 1 << int(rng.integers(8))
        case 2:  # bytes
            content[place : place + size] = rng.bytes(len(content[place : place + size]))
        case 3:  # large and small numbers
            content[place : place + size] = bytes([int(rng.choice([0, 255, 127, 128]))]) * len(
                content[place : place + size]
            )
        case 4:  # missing, or twice
            content[place : place + size * int(rng.integers(1, 20))] = b""
        case 5:
            content[place:place] = content[max(0, place - 20 * size) : place]
        case 6:  # a number in a text, such as a shape or a position
            numbers = list(re.finditer(rb"\d+", content))
            start, end = numbers[int(rng.integers(len(numbers)))].span()
            content[start:end] = str(rng.choice([-1, 0, 1, 7, 2**31, 2**40, 2**63, 10**30])).encode()
    return bytes(content), False


def damaged(originals, kind, rng):
    """Returns a damaged file, and whether it must be read as it was if it is read at all."""
    if kind == "pickle.pth":  # with the right checksum
        return repacked(originals[kind], lambda pickle: damage(pickle, rng)[0]), False
    content, cut = damage(originals[kind], rng)
    return content, cut or kind in ("a.pth", "packed.pth")  # these have checksums


def equal(one, other):
    if isinstance(other, dict):
        return (
            isinstance(one, dict) and one.keys() == other.keys() and all(equal(one[key], other[key]) for key in other)
        )
    return np.array_equal(one, other) and np.asarray(one).dtype == np.asarray(other).dtype


def test_damaged_files_are_read_as_they_were_or_refused(originals, tmp_path):
    whole, expected, refused = tmp_path / "whole", {}, 0
    whole.mkdir()
    for kind, content in originals.items():
        (whole / kind).write_bytes(content)
    for kind in KINDS:  # views of these files, which must stay as they are
        expected[kind] = read_weight_file(whole / kind)
    (tmp_path / "a.safetensors").write_bytes(originals["a.safetensors"])
    tracemalloc.start()
    try:
        for case in range(CASES):
            rng, kind = np.random.default_rng(case), KINDS[case % len(KINDS)]
            content, exact = damaged(originals, kind, rng)
            path = tmp_path / ("damaged.safetensors" if kind == "a.safetensors" else kind)
            path.write_bytes(content)
            tracemalloc.reset_peak()
            try:
                read = read_weight_file(path)
                assert not exact or equal(read, expected[kind]), f"case {case}, {kind}: read as something else"
            except ValueError:
                refused += 1
            with pytest.raises(ValueError):  # none of them is a whole ResNet
                read_published(path)
            peak = tracemalloc.get_traced_memory()[1]
            assert peak < MOST, f"case {case}, {kind}: {peak} bytes"
    finally:
        tracemalloc.stop()
    assert CASES / 2 < refused < CASES
