"""Preparing a dataset on the command line and reading it: whole, interrupted, repeated, on a full disk."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sdeseg_jax.commands import prepare_data
from sdeseg_jax.data import datasets
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.datasets import DatasetError, open_split
from sdeseg_jax.data.preparation import prepare_from_source, report_text

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def source(new_tree, blocks):
    """CamVid's layout: 30 frames of video, one of them cut off."""
    tree = new_tree()
    label, _ = blocks(range(12))
    for folder, count in (("train", 4), ("val", 30)):
        for i in range(count):
            tree.image(f"{folder}/{folder}_{100 + 2 * i:05d}.png", value=8 * i)
            tree.label(f"{folder}annot/{folder}_{100 + 2 * i:05d}.png", label)
    tree.truncate("val/val_00114.png")
    return tree.root


def prepare(source, output, **settings):
    settings = {"size": (32, 32), "processes": 1, "on_corrupt": "skip"} | settings
    return prepare_from_source("camvid", str(source), str(output), **settings)


def flags(source, output):
    """Returns the same as `prepare`, for the command line."""
    options = ["--size=32x32", "--processes=1", "--on_corrupt=skip"]
    return ["--dataset=camvid", f"--source={source}", f"--output={output}", *options]


def run_script(*arguments, limit=None):
    def restrict():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "scripts/prepare_data.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=restrict if limit else None,
        timeout=120,
    )


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    """(folder, what the command printed)."""
    output = tmp_path_factory.mktemp("output")
    result = run_script(*flags(source, output))
    assert result.returncode == 0, result.stderr
    return output, result


def test_command_line_reports_what_it_found(prepared):
    output, result = prepared
    assert f"{output}/camvid/32x32/1.0.0" in result.stdout
    assert "train: 4 images of 1 clip, 4 with a label, 2 without both neighbours" in result.stdout
    assert "validation: 29 images of 1 clip, 29 with a label, 4 without both neighbours" in result.stdout
    assert "images left out (corrupt): 1\n" in result.stdout and "val_00114.png: cannot be decoded" in result.stdout
    assert "test is missing: no split 'test'" in result.stdout
    assert "preparing: 100%" in result.stderr
    assert not list(output.rglob("*partial*")) and not list(output.rglob("*incomplete*"))


def test_prepared_data_is_read_by_name(prepared):
    validation = open_split("camvid", "validation", str(prepared[0]))
    assert validation.classes.protocol == "camvid-11" and validation.image_size == (32, 32)
    assert len(validation.index) == 29 and len(validation.index.with_neighbours) == 25


def test_a_second_call_leaves_what_is_there_untouched(prepared, source):
    output, _ = prepared
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    _, was_there = prepare(source, output)
    assert was_there
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == before


def test_several_sizes_are_told_apart(source, tmp_path):
    prepare(source, tmp_path)
    assert open_split("camvid", "train", str(tmp_path)).image_size == (32, 32)
    prepare(source, tmp_path, size=(64, 32))
    with pytest.raises(DatasetError, match="several variants: 32x32, 64x32; choose one: --config.data.variant=32x32"):
        open_split("camvid", "train", str(tmp_path))
    assert open_split("camvid", "train", str(tmp_path), variant="64x32").image_size == (32, 64)
    with pytest.raises(DatasetError, match="has no '64x33'; did you mean '64x32'.*\n.*\n.* --size=64x33$"):
        open_split("camvid", "train", str(tmp_path), variant="64x33")
    with pytest.raises(DatasetError, match="has no 'big'; valid: '32x32', '64x32'$"):
        open_split("camvid", "train", str(tmp_path), variant="big")


def test_a_dataset_of_another_version_is_refused_and_left_alone(source, tmp_path, monkeypatch):
    builder, _ = prepare(source, tmp_path)
    old = pathlib.Path(builder.data_path)
    monkeypatch.setattr(type(builder), "VERSION", type(builder.version)("9.0.0"))
    with pytest.raises(DatasetError, match="prepared by version 1.0.0 of its builder; this code reads version 9.0.0"):
        open_split("camvid", "train", str(tmp_path))
    prepare(source, tmp_path)
    assert open_split("camvid", "train", str(tmp_path)).image_size == (32, 32) and old.is_dir()


def test_not_prepared(tmp_path):
    with pytest.raises(DatasetError, match=f"not prepared in .*\n.*--dataset=gta5 --source=.* --output={tmp_path}$"):
        open_split("gta5", "train", str(tmp_path))


@pytest.mark.parametrize(
    "name, variant, options",
    [
        ("camvid", "320x256", "--size=320x256"),
        ("folder", "64x32", "--size=64x32"),
        ("folder", "my_city_64x32_stride2", "--size=64x32 --stride=2 --name=my_city"),
        ("camvid", "small", "--output={root}"),
    ],
)
def test_the_command_for_a_variant_that_is_not_there(tmp_path, name, variant, options):
    """The options that it prints are those that give a variant this name."""
    with pytest.raises(DatasetError) as error:
        open_split(name, "train", str(tmp_path), variant=variant)
    first, command = str(error.value).split("\n")
    assert first == f"config.data.name: Dataset '{name}' is not prepared in {tmp_path}. Prepare it once:"
    assert command.endswith(f" {options.format(root=tmp_path)}")


def test_messages_name_the_section_of_the_config(prepared, tmp_path):
    for key in ("data", "video", "source.video"):
        with pytest.raises(DatasetError, match=f"^config.{key}.name: Dataset 'gta5_video' is not prepared"):
            datasets.is_ready("gta5_video", str(tmp_path), section=key)
        with pytest.raises(DatasetError, match=f"^config.{key}.variant: .* has no '64x64'"):
            datasets.is_ready("camvid", str(prepared[0]), variant="64x64", section=key)
    path = tmp_path / "camvid" / "32x32" / "1.0.0" / "dataset_info.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(DatasetError, match="^config.video.name: .* is damaged"):
        datasets.is_ready("camvid", str(tmp_path), section="video")


def test_a_killed_preparation_is_no_dataset_and_is_continued(source, tmp_path):
    """Killed outright, with a shard finished and another begun."""
    program = (
        "import sys; from sdeseg_jax.data.builders import shard_writer, base_builder\n"
        "shard_writer.write_shards.__defaults__ = (0, 8, False)\n"  # shards of 8 frames
        "from sdeseg_jax.data.preparation import prepare_from_source\n"
        "serialize = base_builder.FramesBuilder._serialize\n"
        "def slow(*arguments): import time; time.sleep(0.1); return serialize(*arguments)\n"
        "base_builder.FramesBuilder._serialize = slow\n"
        f"prepare_from_source('camvid', {str(source)!r}, {str(tmp_path)!r}, (32, 32), 'skip', 1)"
    )
    command = [sys.executable, "-c", program]
    partial = tmp_path / "camvid" / "32x32" / "1.0.0.partial"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (partial / "validation-00001.json").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    with pytest.raises(DatasetError, match="was interrupted; the same command resumes:\n.* --size=32x32$"):
        open_split("camvid", "train", str(tmp_path))
    done = {path: path.stat().st_mtime_ns for path in partial.glob("*.array_record")}
    assert len(done) == 3

    again = subprocess.run([*command[:2], program.replace("0.1", "0")], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    progress = [line for line in again.stderr.replace("\r", "\n").splitlines() if line.startswith("preparing")]
    assert " 20/34 " in progress[0]  # where it resumed
    folder = tmp_path / "camvid" / "32x32" / "1.0.0"
    kept = {path.stat().st_mtime_ns for path in folder.glob("*.array_record*")}
    assert set(done.values()) <= kept and not partial.exists()
    assert not list(folder.parent.glob("*incomplete*"))
    ids = open_split("camvid", "validation", str(tmp_path)).index.ids
    assert ids == tuple(f"val_{100 + 2 * i:05d}" for i in range(30) if i != 7)


def test_a_full_disk_leaves_other_datasets_alone_and_can_be_continued(source, tmp_path):
    prepare(source, tmp_path, size=(64, 32))
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run_script(*flags(source, tmp_path), limit=4096)
    assert result.returncode == 2 and "is full" in result.stderr and "run the same command again" in result.stderr
    assert "Traceback" not in result.stderr
    assert {path: path.read_bytes() for path in whole} == whole
    with pytest.raises(DatasetError, match="was interrupted"):
        open_split("camvid", "train", str(tmp_path), variant="32x32")
    assert run_script(*flags(source, tmp_path)).returncode == 0
    assert len(open_split("camvid", "train", str(tmp_path), variant="32x32").index) == 4


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--dataset=camvid", "--source={source}", "--output={output}", "--size=100x100"], "multiples of 32"),
        (["--dataset=camvid", "--source={source}", "--output={output}", "--size=big"], "should be WIDTHxHEIGHT"),
        (["--dataset=camvidd", "--source={source}", "--output={output}"], "invalid choice: 'camvidd'"),
        (["--dataset=camvid", "--output={output}"], "--source is missing"),
        (["--dataset=camvid", "--source={source}"], "--output is missing"),
        (["--dataset=camvid", "--source={source}", "--output={output}", "--stride=2"], "camvid' has no option stride"),
        (
            ["--dataset=cityscapes", "--source={source}", "--output={output}"],
            "has no folder leftImg8bit/train, gtFine/train",
        ),
        (["--dataset=camvid", "--source={source}/nowhere", "--output={output}"], "it does not exist"),
        (["--dataset=camvid", "--source={source}", "--output={file}"], "--output={file} cannot be written to: "),
        (["--dataset=camvid", "--source={source}", "--output={file}/x"], "Not a directory. Name a folder that"),
        (["--dataset=camvid", "--source={source}", "--output=/proc/x/y"], "/proc/x/y cannot be written to: /proc/x: "),
        (
            ["--dataset=camvid", "--source={source}", "--output={output}", "--processes=-1"],
            "argument --processes: '-1' should be a whole number, 1 or more",
        ),
        (
            ["--dataset=folder", "--source={source}", "--output={output}", "--stride=0"],
            "argument --stride: '0' should be a whole number, 1 or more",
        ),
        (["--dataset=folder", "--source={source}", "--output={output}", "--stride=two"], "argument --stride: 'two'"),
    ],
)
def test_wrong_arguments(source, tmp_path, capsys, arguments, message):
    places = {"source": source, "output": tmp_path / "out", "file": tmp_path / "file"}
    places["file"].write_text("")
    filled = [argument.format(**places) for argument in arguments]
    try:
        status = prepare_data.main(filled)
    except SystemExit as error:
        status = error.code
    shown = capsys.readouterr().err
    assert status == 2 and message.format(**places) in shown, shown
    assert not list((tmp_path / "out").rglob("*.array_record*"))


def test_layout_is_shown(capsys):
    assert prepare_data.main(["--dataset=kitti_odometry", "--layout"]) == 0
    assert "calib.txt" in capsys.readouterr().out


def test_long_reports_are_cut():
    skipped = [["corrupt", f"{i}.png: cannot be decoded"] for i in range(12)]
    counts = dict(images=5, labels=0, clips=1, without_neighbours=2, only_neighbours=3, skipped=skipped)
    text = report_text({"splits": {"train": counts}, "notes": ["odd"]})
    assert "3 only as neighbours" in text and "images left out (corrupt): 12" in text and "… and 2 more" in text
    assert text.endswith("note: odd")


def test_protocols_of_prepared_datasets(prepared):
    with pytest.raises(DatasetError, match="protocol cityscapes-19 has classes that camvid-11 labels lack"):
        open_split("camvid", "train", str(prepared[0]), protocol="cityscapes-19")
    with pytest.raises(DatasetError, match="unknown protocol 'synthia-61'; did you mean 'synthia-16'"):
        datasets.class_map("synthia", protocol="synthia-61")
    assert len(datasets.class_map("gta5", protocol="synthia-16")) == 16
    assert datasets.class_map("kitti_odometry") is None


def test_source_errors_are_raised_to_callers(tmp_path):
    with pytest.raises(SourceError, match="has no folder"):
        prepare(tmp_path, tmp_path / "out")
    assert np.all([os.path.isdir(path) for path in (tmp_path / "out").rglob("*")])
