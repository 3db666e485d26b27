"""Files damaged in any way give a message that names the file, in bounded memory, and never a traceback.

$SDESEG_FUZZ sets the number of files of each kind.
"""

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from sdeseg_jax.data.builders.camera_intrinsics import Camera
from sdeseg_jax.data.builders.camera_json import read_camera
from sdeseg_jax.data.builders.cityscapes import read_camera as read_cityscapes_camera
from sdeseg_jax.data.builders.classes_json import read_classes
from sdeseg_jax.data.builders.folder_description_files import read_names
from sdeseg_jax.data.builders.frame_encoding import Problem, Task, encode_frame
from sdeseg_jax.data.builders.scanned_clips import Frame, LabelFormat
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.runs.frame_id_files import read_ids

EXAMPLES = int(os.environ.get("SDESEG_FUZZ", "200"))

fuzz = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def png(values):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def claiming(content, width, height):
    """Returns a PNG file whose header claims another size, with a correct checksum."""
    header = content[12:16] + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def jpeg(claimed=None):
    stream = io.BytesIO()
    Image.fromarray(IMAGE).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    if claimed:
        place = content.index(b"\xff\xc0") + 5
        content[place : place + 4] = struct.pack(">HH", claimed[1], claimed[0])
    return bytes(content)


IMAGE = np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8)
LABEL = np.random.default_rng(1).integers(0, 2, (32, 64), np.uint8)
DEEP = tf.io.encode_png(np.repeat(LABEL[..., None], 3, axis=2).astype(np.uint16)).numpy()
STEREO = tf.io.encode_png(np.full((32, 64, 1), 900, np.uint16)).numpy()
GOOD = {"image": jpeg(), "png": png(IMAGE), "label": png(LABEL), "deep": DEEP, "stereo": STEREO}
BOMBS = [
    claiming(GOOD["png"], 2**31 - 1, 2**31 - 1),
    claiming(GOOD["png"], 60_000, 60_000),
    claiming(DEEP, 60_000, 60_000),
    claiming(GOOD["label"], 1, 2**31 - 1),
    claiming(STEREO, 60_000, 60_000),
    jpeg((65_500, 65_500)),
    claiming(GOOD["png"], 0, 0),
    b"",
    b"\0" * 100,
    b"<html>404</html>",
    b"GIF89a\xff\xff\xff\xff",
    b"BM" + b"\xff" * 60,
]


@st.composite
def damaged(draw, content):
    """A file that was cut off, has wrong bytes, or is another file."""
    kind = draw(st.sampled_from(["cut", "bytes", "other", "claims"]))
    if kind == "cut":
        return content[: draw(st.integers(0, len(content)))]
    if kind == "other":
        return draw(st.sampled_from([*BOMBS, *GOOD.values()]))
    if kind == "claims" and content[:4] == b"\x89PNG":
        side = st.sampled_from([0, 1, 63, 64, 65, 4000, 20_000, 100_000, 2**31 - 1])
        return claiming(content, draw(side), draw(side))
    out = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        out[draw(st.integers(0, len(out) - 1))] = draw(st.integers(0, 255))
    return bytes(out)


def task(folder, kind, content):
    """Returns a frame whose files are good except one."""
    names = {"image": "a.jpg", "label": "a_label.png", "stereo": "a_stereo.png"}
    files = {"image": GOOD["image"], "label": GOOD["deep" if kind == "deep" else "label"], "stereo": STEREO}
    files[{"png": "image", "deep": "label"}.get(kind, kind)] = content
    for name, data in files.items():
        (folder / names[name]).write_bytes(data)
    labels = LabelFormat({0: 0, 1: 1, 255: 255}, None, deep=kind == "deep")
    camera = Camera(60.0, 60.0, 31.5, 15.5, 64, 32)
    paths = {name: str(folder / file) for name, file in names.items()}
    frame = Frame("a", paths["image"], camera, paths["label"], stereo_disparity=paths["stereo"], stereo_scale=1.0)
    return Task(frame, (64, 32), labels, True)


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_pictures(tmp_path, kind):
    seen = {True: 0, False: 0}

    @fuzz
    @given(damaged(GOOD[kind]))
    def check(content):
        result = encode_frame(task(tmp_path, kind, content))
        broken = isinstance(result, Problem)
        seen[broken] += 1
        if broken:
            assert result.kind in ("corrupt", "corrupt label", "label size", "label", "camera")
            assert str(tmp_path) in result.message
        else:
            with Image.open(io.BytesIO(result["image"])) as image, Image.open(io.BytesIO(result["label"])) as label:
                assert image.size == label.size == (64, 32)

    check()
    assert seen[True] > EXAMPLES / 4 and seen[False] > 0


@pytest.mark.parametrize("number", range(len(BOMBS)))
@pytest.mark.parametrize("kind", ["image", "deep", "stereo"])
def test_files_that_claim_to_be_huge_take_no_memory(tmp_path, kind, number):
    """They are refused by their header; the next test measures the memory."""
    result = encode_frame(task(tmp_path, kind, BOMBS[number]))
    assert isinstance(result, Problem) and result.kind in ("corrupt", "corrupt label", "label size")


def test_memory_of_a_process_that_reads_bombs(tmp_path):
    program = """
import pathlib, resource, sys
sys.path.insert(0, sys.argv[1])
from tests.data.builders import test_fuzz_files as fuzzing
folder = pathlib.Path(sys.argv[2])
fuzzing.encode_frame(fuzzing.task(folder, "image", fuzzing.GOOD["image"]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for kind in ("image", "label", "deep", "stereo"):
    for bomb in fuzzing.BOMBS:
        fuzzing.encode_frame(fuzzing.task(folder, kind, bomb))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 3))
    done = subprocess.run(
        [sys.executable, "-c", program, root, str(tmp_path)], capture_output=True, text=True, check=True, cwd=root
    )
    assert int(done.stdout.splitlines()[-1]) < 100_000  # KiB


CLASSES = {"classes": [{"name": "road", "color": [1, 2, 3]}, {"name": "car", "id": 7}], "void": [255]}
CAMERA = {"fx": 1400.0, "fy": 1400.0, "cx": 959.5, "cy": 539.5, "width": 1920, "height": 1080}
CITYSCAPES = {"intrinsic": {"fx": 2262.5, "fy": 2265.3, "u0": 1096.9, "v0": 513.1}, "extrinsic": {"baseline": 0.2}}
IDS = {"ids": ["a", "b"]}

anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400), st.just("../x")
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
DEEP_JSON = "[" * 100_000 + "]" * 100_000


@st.composite
def other_json(draw, good):
    """JSON with values replaced or keys left out, other JSON, or not JSON."""
    kind = draw(st.sampled_from(["value", "value", "missing", "other", "cut", "bytes"]))
    text = json.dumps(good)
    if kind == "other":
        return json.dumps(draw(anything)).encode()
    if kind == "cut":
        return text[: draw(st.integers(0, len(text)))].encode()
    if kind == "bytes":
        return draw(st.binary(max_size=40))
    content = json.loads(text)
    node = content
    while True:
        key = draw(st.sampled_from(range(len(node)) if isinstance(node, list) else sorted(node)))
        if not isinstance(node[key], (dict, list)) or not node[key] or draw(st.booleans()):
            break
        node = node[key]
    if kind == "missing":
        del node[key]
    else:
        node[key] = draw(anything)
    return json.dumps(content).encode()


def read_city(path):
    folder = path.parent / "camera/train/ulm"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x_camera.json").write_bytes(path.read_bytes())
    return read_cityscapes_camera(path.parent, "train", "ulm", "x")


READERS = {
    "classes": (CLASSES, lambda path: read_classes(path, "folder"), SourceError),
    "camera": (CAMERA, lambda path: read_camera(path, lambda: (1920, 1080)), SourceError),
    "field_of_view": ({"field_of_view": 65}, lambda path: read_camera(path, lambda: (1920, 1080)), SourceError),
    "cityscapes": (CITYSCAPES, read_city, SourceError),
    "ids": (IDS, read_ids, ValueError),
}


@pytest.mark.parametrize("kind", sorted(READERS))
def test_json(tmp_path, kind):
    good, read, error = READERS[kind]
    path = tmp_path / "file.json"
    path.write_text(json.dumps(good))
    read(path)

    @fuzz
    @given(other_json(good))
    @example(DEEP_JSON.encode())
    @example(b"1" * 10_000)
    @example(b'{"field_of_view": 1e999}')
    @example(b"\xff\xfe\0\0")
    def check(content):
        path.write_bytes(content)
        try:
            read(path)
        except error as caught:
            assert "file.json" in str(caught) or "x_camera.json" in str(caught)
            assert len(str(caught)) < 2000

    check()


def test_json_of_an_absurd_size(tmp_path):
    path = tmp_path / "file.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # a terabyte of nothing
    for _, read, error in READERS.values():
        if read is not read_city:
            with pytest.raises(error, match=r"file\.json:? is not a JSON file"):
                read(path)
    with pytest.raises(SourceError, match="far too large"):
        read_names(path, {"a"})


@fuzz
@given(
    st.one_of(st.binary(max_size=60), st.sampled_from([b"../../etc/passwd", b"/etc/passwd", b"a/../b", b"a\0", b"a"]))
)
def test_lists_of_names(tmp_path_factory, content):
    """Names have to be known; no file is opened by a name in a list."""
    path = tmp_path_factory.mktemp("list") / "validation.txt"
    path.write_bytes(content)
    try:
        assert read_names(path, {"a", "b"}) <= {"a", "b"}
    except SourceError as error:
        assert "validation.txt" in str(error)
