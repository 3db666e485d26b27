"""Damaged exports of annotation tools give a message, never a traceback, in bounded memory.

$SDESEG_FUZZ sets the number of exports of each kind.
"""

import json
import os
import random
import resource
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.commands import import_labels
from tests.commands.annotation_exports import COLORS, coco_json, label_studio_json
from tests.data.builders.png_writer import chunk

NUMBER = int(os.environ.get("SDESEG_FUZZ", "500"))
ODD = (
    None, True, -1, 0, 2**31, 2**63, 10**400, 1.5, float("nan"), float("inf"), "", "a", "\ud800", "\0", "../../x",
    "é" * 300, [], {}, [[]], [None], [1], [[1, 2]], [1, 2, 3], ["a", "b"], {"a": 1}, [255] * 40, [[1e308] * 6],
    {"size": [2**31, 2**31], "counts": [2**62]}, {"size": [32, 64], "counts": "zzzz" * 50},
    {"size": [32, 64], "counts": [10**30, -(10**30)]},
)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    (root / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(root / "images" / name)
    classes = [{"name": "road"}, {"name": "traffic light"}, {"name": "sky"}]
    (root / "classes.json").write_text(json.dumps({"classes": classes}))
    return root


def places(node, above=()):
    """Returns the paths of all values in JSON content, not of each number in long lists."""
    found = [above] if above else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(items)[:12]:
        found += places(value, (*above, key))
    return found


def damage(text, paths, draw):
    """Returns JSON text with one to three values replaced or removed."""
    content = json.loads(text)
    for path in draw.sample(paths, draw.randint(1, 3)):
        node = content
        try:
            for key in path[:-1]:
                node = node[key]
            if draw.random() < 0.2:
                del node[path[-1]]
            else:
                node[path[-1]] = draw.choice(ODD)
        except (KeyError, IndexError, TypeError):  # an earlier change removed it
            continue
    return json.dumps(content)


def import_(source, export, capsys, *flags):
    status = import_labels.main([f"--source={source}", f"--export={export}", "--overwrite", *flags])
    said = capsys.readouterr()
    (said.out + said.err).encode("utf-8", "strict")
    assert status in (0, 2) and len(said.out + said.err) < 40_000
    assert status == 0 or said.err.startswith("Error: ")
    return status


@pytest.mark.parametrize("kind", ["coco", "label_studio"])
def test_json(source, tmp_path, capsys, kind):
    names, draw = ["a.png", "b.png"][: 1 + (kind == "coco")], random.Random(0)
    good = coco_json(names, folder="") if kind == "coco" else label_studio_json(names)
    paths, path, good = places(good), tmp_path / "export.json", json.dumps(good)
    statuses = []
    for number in range(NUMBER):
        text = damage(good, paths, draw) if number else good
        if draw.random() < 0.1 and number:
            place = draw.randrange(len(text))
            text = (
                text[:place] + draw.choice(["", "9" * 5000, "[" * 3000, "\0", '"']) + text[place + draw.randint(0, 9) :]
            )
        path.write_text(text)
        statuses.append(import_(source, path, capsys))
    assert statuses[0] == 0 and 0.05 * NUMBER < sum(statuses) / 2 < 0.98 * NUMBER


def test_masks_of_cvat(source, tmp_path, capsys):
    draw, folder = random.Random(0), tmp_path / "SegmentationClass"
    folder.mkdir()
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[5:30, 5:40] = COLORS["road"]
    Image.fromarray(pixels).save(folder / "a.png")
    good = (folder / "a.png").read_bytes()
    lines = "".join(f"{name}:{','.join(map(str, color))}::\n" for name, color in COLORS.items())
    statuses = []
    for number in range(NUMBER):
        files = [bytearray(good), bytearray(lines.encode())]
        for content in files:
            for _ in range(draw.randint(0, 3) if number else 0):
                content[draw.randrange(len(content))] = draw.randrange(256)
        (folder / "a.png").write_bytes(files[0])
        (tmp_path / "labelmap.txt").write_bytes(files[1])
        statuses.append(import_(source, tmp_path, capsys))
    assert statuses[0] == 0 and sum(statuses) / 2 > 0.2 * NUMBER


def bombs(folder):
    """Yields exports that would take gigabytes."""
    with (
        zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.json", "w") as file,
    ):
        for _ in range(300):
            file.write(bytes(2**20))
    yield folder / "bomb.zip"
    with (folder / "huge.json").open("wb") as file:
        file.truncate(10 * 2**30)
    yield folder / "huge.json"
    (folder / "deep.json").write_text("[" * 10**6)
    yield folder / "deep.json"
    for name, shape in {
        "counts": {"size": [48, 64], "counts": [2**40, 2**40]},
        "size": {"size": [2**20, 2**20], "counts": [2**40]},
        "string": {"size": [48, 64], "counts": "oooooooooo0" * 1000},
        "points": [[-1e8, -1e8, 1e8, -1e8, 1e8, 1e8]] * 50,
    }.items():
        content = coco_json(["a.png"], folder="")
        content["annotations"][0]["segmentation"] = shape
        content["images"][0].update({"width": 2**20, "height": 2**20} if name == "size" else {})
        (folder / f"{name}.json").write_text(json.dumps(content))
        yield folder / f"{name}.json"
    task = label_studio_json(["a.png"])
    task[0]["annotations"][0]["result"][0]["value"]["rle"] = list(struct.pack(">I", 2**32 - 4)) + [255] * 1000
    (folder / "brush.json").write_text(json.dumps(task))
    yield folder / "brush.json"
    for name, (width, height) in {"wide": (60_000, 60_000), "pixel": (1, 1)}.items():
        (folder / name).mkdir()
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        data = chunk(b"IDAT", zlib.compress(bytes(200 * 2**20), 1)) + chunk(b"IEND", b"")
        (folder / name / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
        yield folder / name


def test_nothing_huge_is_allocated(source, tmp_path, capsys):
    made = list(bombs(tmp_path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in made:
        import_(source, path, capsys)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # KiB; each would take more
