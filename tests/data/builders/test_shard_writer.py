"""Writing shards: an interruption loses at most one of them, and nothing outdated is ever kept."""

import fcntl
import os

import numpy as np
import pytest
import tensorflow as tf
from array_record.python import array_record_module

from sdeseg_jax.data.builders import shard_writer
from sdeseg_jax.data.builders.frame_encoding import Task
from sdeseg_jax.data.builders.scanned_clips import Frame
from sdeseg_jax.data.builders.shard_writer import write_shards
from sdeseg_jax.data.builders.source_errors import SourceError


@pytest.fixture
def tree(new_tree):
    """Seven images; the sixth is broken."""
    tree = new_tree()
    for n in range(7):
        tree.image(f"{n}.png", 30 * n)
    tree.text("5.png", "no image")
    return tree


@pytest.fixture
def write(tree, tmp_path):
    """Writes the images as shards of two; returns the ids per shard, and appends encoded ids to `encoded`."""

    def run(encoded, on_corrupt="error"):
        def serialize(clip, task, result):
            encoded.append(task.frame.id)
            return result["image"]

        tasks = [("clip", Task(Frame(str(n), str(tree.root / f"{n}.png"), number=n), (16, 16))) for n in range(7)]
        found = write_shards(tmp_path, {"train": tasks}, serialize, on_corrupt, processes=1, frames_per_shard=2)
        return [[frame[1] for frame in shard.frames] for shard in found["train"]]

    return run


@pytest.fixture
def interrupted(write):
    """The folder after a first call that ended at the damaged image."""
    encoded = []
    with pytest.raises(SourceError, match="5.png: cannot be decoded"):
        write(encoded)
    assert encoded == ["0", "1", "2", "3", "4"]


def test_leaving_the_broken_file_out_keeps_what_is_done(interrupted, write):
    encoded = []
    assert write(encoded, "skip") == [["0", "1"], ["2", "3"], ["4"], ["6"]]
    assert encoded == ["4", "6"]


def test_downloading_the_broken_file_again_keeps_what_is_done(interrupted, tree, write):
    tree.image("5.png", 150)
    encoded = []
    assert write(encoded) == [["0", "1"], ["2", "3"], ["4", "5"], ["6"]]
    assert encoded == ["4", "5", "6"]


def test_what_was_left_out_is_tried_again_where_that_is_an_error(write):
    write([], "skip")
    encoded = []
    with pytest.raises(SourceError, match="5.png"):
        write(encoded)
    assert encoded == ["4"]


def test_shards_of_files_that_have_changed_are_written_again(interrupted, tree, write):
    stat = (tree.root / "2.png").stat()
    os.utime(tree.root / "2.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
    encoded = []
    write(encoded, "skip")
    assert encoded == ["2", "3", "4", "6"]


def test_files_of_another_plan_are_removed(interrupted, write, tmp_path):
    for name in ("train-00009.array_record", "train-00009.json", "validation-00000.tmp"):
        (tmp_path / name).write_text("old")
    write([], "skip")
    stems = {path.stem for path in tmp_path.iterdir()}
    assert stems == {"lock", *(f"train-{n:05d}" for n in range(4))}


def test_records_can_be_read_back(write, tmp_path):
    write([], "skip")
    reader = array_record_module.ArrayRecordReader(str(tmp_path / "train-00001.array_record"))
    values = [tf.io.decode_jpeg(record).numpy() for record in reader.read_all()]
    np.testing.assert_allclose(values, np.broadcast_to(np.reshape([60, 90], (2, 1, 1, 1)), (2, 16, 16, 3)), atol=2)


def test_two_processes_do_not_write_at_the_same_time(write, tmp_path):
    with open(tmp_path / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(SourceError, match="another process is preparing this dataset"):
            write([])


def test_a_full_disk(interrupted, write, tmp_path, monkeypatch):
    class FullDisk:
        def __init__(self, path, options):
            self._file = open(path, "w")

        def write(self, record):
            raise RuntimeError("RESOURCE_EXHAUSTED: No space left on device")

    with monkeypatch.context() as context:
        context.setattr(shard_writer.array_record_module, "ArrayRecordWriter", FullDisk)
        with pytest.raises(SourceError, match=r"is full: .* GB more are needed\. Free some space and run the same"):
            write([], "skip")
    assert not list(tmp_path.glob("*.tmp"))
    encoded = []
    write(encoded, "skip")
    assert encoded == ["4", "6"]
