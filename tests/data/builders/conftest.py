"""Small datasets in their official layouts, and functions that build and read them."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from sdeseg_jax.data.builders.base_builder import FramesConfig
from sdeseg_jax.data.builders.folder import Folder, FolderConfig
from sdeseg_jax.data.builders.registry import builder_class
from sdeseg_jax.data.preparation import prepare_from_source
from tests.data.builders.own_folder import CAMERA, CLASSES


class Tree:
    """A downloaded folder, written file by file; every method makes the folders it needs."""

    def __init__(self, root: pathlib.Path):
        self.root = root

    def _path(self, name: str) -> pathlib.Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def image(self, name: str, value=128, size=(64, 32), mode="RGB"):
        """An image of one grey level."""
        Image.new("L", size, value).convert(mode).save(self._path(name), quality=95)

    def label(self, name: str, values: np.ndarray):
        """Class ids [H, W] uint8, or colours [H, W, 3], as PNG."""
        Image.fromarray(values).save(self._path(name))

    def palette_label(self, name: str, values: np.ndarray):
        """Class ids [H, W] uint8 as indices of a palette PNG, whose colours have nothing to do with them."""
        image = Image.fromarray(values)
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
        assert image.mode == "P"
        image.save(self._path(name))

    def deep_label(self, name: str, values: np.ndarray):
        """Class ids [H, W] in the first channel of a 16-bit RGB PNG; instance ids beyond 8 bits in the second."""
        instances = np.arange(values.size).reshape(values.shape) * 31
        channels = np.stack([values, instances, np.zeros_like(values)], -1).astype(np.uint16)
        self._path(name).write_bytes(tf.io.encode_png(channels).numpy())

    def deep_image(self, name: str, values: np.ndarray):
        """Values [H, W] uint16 as a 16-bit grey PNG."""
        Image.fromarray(values.astype(np.uint16)).save(self._path(name))

    def text(self, name: str, content):
        """A text file; content other than a string is written as JSON."""
        self._path(name).write_text(content if isinstance(content, str) else json.dumps(content))

    def truncate(self, name: str):
        """Cuts a file in half, as an interrupted download does."""
        path = self._path(name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def clutter(self, *folders: str):
        """Files that macOS, Windows and people leave behind."""
        for folder in folders:
            for name in (".DS_Store", "._x.png", "._000000.png", "README.txt", "Thumbs.db"):
                self.text(f"{folder}/{name}", "no image")


@pytest.fixture(scope="session")
def new_tree(tmp_path_factory):
    """Returns an empty `Tree`."""
    return lambda: Tree(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Prepares a dataset: (name of its builder, source folder) -> builder."""

    def run(name: str, source, width=32, height=16, **config):
        config = FramesConfig(width=width, height=height, source=str(source), processes=1, **config)
        builder = builder_class(name)(config=config, data_dir=tmp_path_factory.mktemp("prepared"))
        builder.download_and_prepare()
        return builder

    return run


@pytest.fixture(scope="session")
def scan(tmp_path_factory):
    """Finds a dataset's files without preparing it: (name of its builder, source folder) -> Scan."""

    def run(name: str, source):
        builder = builder_class(name)(config=FramesConfig(), data_dir=tmp_path_factory.mktemp("prepared"))
        return builder.scan(pathlib.Path(source))

    return run


@pytest.fixture(scope="session")
def read():
    """Reads a split back: {frame id: record}, in the order of the records."""

    def run(builder, split: str) -> dict:
        deep = [name for name, feature in builder.info.features.items() if feature.np_dtype == np.uint16]
        decoders = dict.fromkeys(deep, tfds.decode.SkipDecoding())  # of 16 bits, which TFDS leaves to OpenCV
        records = list(builder.as_data_source(split, decoders=decoders))
        for record in records:
            record.update({name: tf.io.decode_png(record[name], dtype=tf.uint16).numpy() for name in deep})
        by_id = {record["id"].decode(): record for record in records}
        assert len(by_id) == len(records)
        return by_id

    return run


@pytest.fixture(scope="session")
def blocks():
    """Returns a 64x32 label in blocks of 2x2 that has all of `values`, and its 32x16 version."""

    def run(values):
        small = np.resize(np.array(list(values), np.uint8), (16, 32))
        return small.repeat(2, 0).repeat(2, 1), small

    return run


@pytest.fixture(scope="session")
def resized():
    """Returns the pixel of a point in a resized image, pixel centres at integers: u' = (u + 0.5) s - 0.5."""
    return lambda u, size, new_size: (u + 0.5) * new_size / size - 0.5


@pytest.fixture(scope="module")
def folder(new_tree):
    """Returns a tree with clips {name: images}, 64x32, frame i of brightness 10 i, and the files it requires."""

    def make(clips=None, images=(), **files):
        tree = new_tree()
        for clip, count in (clips or {}).items():
            for i in range(count):
                tree.image(f"clips/{clip}/{i}.png", 10 * i)
        for name in images:
            tree.image(f"images/{name}")
        for name, content in {"camera": CAMERA, "classes": CLASSES, **files}.items():
            if content is not None:
                tree.text(f"{name}.{'txt' if name == 'validation' else 'json'}", content)
        return tree

    return make


@pytest.fixture(scope="module")
def prepare(tmp_path_factory):
    """Prepares a tree as the command line does."""

    def run(tree, size=(32, 16), **options):
        output = tmp_path_factory.mktemp("prepared")
        return prepare_from_source("folder", str(tree.root), str(output), size, processes=1, **options)[0]

    return run


@pytest.fixture(scope="module")
def find(tmp_path_factory):
    """Scans a tree without preparing it."""

    def run(tree, **options):
        builder = Folder(config=FolderConfig(source=str(tree.root), **options), data_dir=tmp_path_factory.mktemp("no"))
        return builder.scan(tree.root)

    return run
