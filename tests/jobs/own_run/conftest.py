"""A run on a user's own data, all the way: select → annotate → train; what is predicted with it, and its exports."""

import json
import pathlib
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from sdeseg_jax.configs.folder import get_config as folder_config

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.data.preparation import prepare_from_source
from sdeseg_jax.data.streets import render_clip
from sdeseg_jax.data.video_files import VideoWriter
from sdeseg_jax.jobs import load_job
from sdeseg_jax.jobs.predict import UnreadableInputError
from sdeseg_jax.runs.workdir import Workdir
from tests.jobs.own_data import write_clips


@pytest.fixture(scope="module")
def run(make_config, tmp_path_factory):
    """(config, workdir) of a training on a folder, whose labels are of frames that the selection chose."""
    root = tmp_path_factory.mktemp("own")
    truth = write_clips(root / "my_data", clips=4, frames=4, size=(32, 64))

    def config(arguments, data):
        own, tiny = folder_config(f"crop=32x64,weights=random,{arguments}"), make_config()
        own.data.data_dir = str(root / data)
        for section in ("model", "depth", "runtime"):
            own[section].update(tiny[section])
        own.selection.update({key: tiny.selection[key] for key in ("student", "batch_size", "student_steps")})
        own.segmentation.update(batch_size=4, steps=4)
        own.evaluation.batch_size = 4
        return own

    prepare_from_source("folder", str(root / "my_data"), str(root / "videos"), processes=1)
    choosing = Workdir(root / "choosing")
    load_job("pipeline")(config("stages=select,annotate=6", "videos"), choosing)
    for line in (choosing.folder("select_labels") / "6" / "files.txt").read_text().splitlines():
        image, label = line.split("\t")
        (root / "my_data" / label).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(truth[pathlib.Path(image).stem]).save(root / "my_data" / label)
    classes = [{"name": n, "color": c} for n, c in zip(CITYSCAPES.names, CITYSCAPES.colors, strict=True)]
    (root / "my_data" / "classes.json").write_text(json.dumps({"classes": classes}))
    prepare_from_source("folder", str(root / "my_data"), str(root / "labelled"), processes=1)
    own = config("stages=all", "labelled")
    own.depth.workdir = str(choosing.root)
    own.pipeline.stages = ("pretrain_depth", "estimate_depth", "train")
    workdir = Workdir(root / "run", own)
    load_job("pipeline")(own, workdir)
    return own, workdir


@pytest.fixture(scope="module")
def exports(run):
    config, workdir = run
    load_job("export")(config, workdir)
    return workdir.folder("export")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A video, an image of the training size, an upright one, and two files that are broken."""
    folder = tmp_path_factory.mktemp("media")
    clip = render_clip("validation", 0, frames=6, height=72, width=128)
    with VideoWriter(folder / "drive.mp4", Fraction(10)) as writer:
        for frame in clip["image"]:
            writer.write(frame)
    small = render_clip("validation", 1, frames=1, height=32, width=64)["image"][0]
    Image.fromarray(small).save(folder / "small.png")
    Image.fromarray(np.rot90(clip["image"][0])).save(folder / "upright.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def predicted(run, media, tmp_path_factory):
    config, workdir = run
    out = tmp_path_factory.mktemp("predictions") / "out"
    config = config.copy_and_resolve_references()
    config.predict.update(side_by_side=True, files=(*config.predict.files, "confidence"))
    with pytest.raises(UnreadableInputError) as refused:
        load_job("predict")(config, workdir, input=[str(media)], output=str(out))
    return config, out, str(refused.value)
