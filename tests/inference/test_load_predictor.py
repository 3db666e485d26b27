"""`sdeseg_jax.load`: the numbers of the job `predict`, from a workdir, a training's folder or an exported one."""

import warnings

import numpy as np
import pytest
from PIL import Image

import sdeseg_jax
from sdeseg_jax.config import UserError
from sdeseg_jax.jobs import load_job
from sdeseg_jax.runs.workdir import Workdir
from tests.random_run import write_random_run

SIZES = ((32, 64), (32, 64), (48, 40), (32, 64))
FILES = ("labels", "confidence", "disparity")


@pytest.fixture(scope="module")
def images():
    make = np.random.default_rng(0)
    return [make.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_config):
    """A run without a method: its baseline is the preferred network."""
    config = make_config(predict__files=FILES, predict__batch_size=2)
    return write_random_run(tmp_path_factory.mktemp("random") / "run", config, (32, 64)), config


@pytest.fixture(scope="module")
def files(run, images, tmp_path_factory):
    """files(kind, i): what the job `predict` wrote for an image."""
    root, config = run
    folder = tmp_path_factory.mktemp("predicted")
    (folder / "in").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / "in" / f"{i}.png")
    load_job("predict")(config, Workdir(str(root), config), [str(folder / "in")], str(folder / "out"))
    return lambda kind, i: np.asarray(Image.open(folder / "out" / kind / f"{i}.png"))


def test_images_of_any_size_get_what_the_job_writes(run, images, files):
    model = sdeseg_jax.load(run[0])
    assert model.classes[0] == "road" and len(model.classes) == 19 and model.image_size == (32, 64)
    assert model.palette.dtype == np.uint8 and model.palette[0].tolist() == [128, 64, 128]
    found = model.predict(images)
    for i, size in enumerate(SIZES):
        assert found.labels[i].shape == size and found.labels[i].dtype == np.uint8
        np.testing.assert_array_equal(found.labels[i], files("labels", i))
        np.testing.assert_array_equal(np.rint(found.confidence[i] * 65535), files("confidence", i))
        np.testing.assert_array_equal(np.rint(found.disparity[i] * 65535), files("disparity", i))
    assert len({label.tobytes() for label in found.labels}) == len(SIZES) and len(np.unique(found.labels[0])) > 1


def test_an_array_gives_arrays_and_one_image_is_like_many(run, images):
    model = sdeseg_jax.load(str(run[0]))
    batch = np.stack([images[i] for i in (0, 1, 3)])
    found, one = model.predict(batch), model.predict(batch[:1])
    assert found.labels.shape == found.disparity.shape == found.confidence.shape == (3, 32, 64)
    for name in ("labels", "confidence", "disparity"):
        np.testing.assert_array_equal(getattr(found, name)[:1], getattr(one, name))


def test_folders_of_trainings_and_settings(run, images):
    depth = sdeseg_jax.load(run[0] / "depth").predict(images[:1])
    assert depth.labels is None and depth.confidence is None and depth.disparity[0].shape == (32, 64)
    flipped = sdeseg_jax.load(run[0] / "baseline", {"evaluation.flip": True})
    mirrored = [image[:, ::-1] for image in images[:1]]
    both = [flipped.predict(some).labels[0] for some in (images[:1], mirrored)]
    np.testing.assert_array_equal(both[0], both[1][:, ::-1])


def test_exported_folder_gives_what_the_job_predicts_with_it(run, images, tmp_path, make_config):
    config = make_config(export__formats=("stablehlo",))
    load_job("export")(config, Workdir(str(run[0]), config))
    folder = run[0] / "export" / "stablehlo"
    (tmp_path / "in").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "in" / f"{i}.png")
    config = make_config(predict__files=FILES)
    load_job("predict")(config, None, [str(tmp_path / "in")], str(tmp_path / "out"), str(folder))
    found = sdeseg_jax.load(folder).predict(images)
    for i in range(len(images)):
        np.testing.assert_array_equal(found.labels[i], np.asarray(Image.open(tmp_path / "out/labels" / f"{i}.png")))
        stored = np.asarray(Image.open(tmp_path / "out/disparity" / f"{i}.png"))
        np.testing.assert_array_equal(np.rint(found.disparity[i] * 65535), stored)


def test_folders_that_are_no_run(run, tmp_path):
    for path, message in (
        (tmp_path / "nowhere", "does not exist; name a workdir"),
        (tmp_path, "is no run .it has no config.json. and no exported folder"),
        (run[0].parent, "is no run .*; runs in it: .*/run$"),
        (run[0] / "depth" / "checkpoints", "is no run"),
        (run[0] / "no", "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            sdeseg_jax.load(path)
    (run[0] / "other").mkdir(exist_ok=True)
    with pytest.raises(UserError, match="other is not the folder of a training .segmentation, baseline, depth."):
        sdeseg_jax.load(run[0] / "other")
    (run[0] / "segmentation").mkdir(exist_ok=True)
    with pytest.raises(UserError, match="config.predict.stage = 'train'"):
        sdeseg_jax.load(run[0] / "segmentation")
    with pytest.raises(UserError, match="'evaluation.flop' is no setting; did you mean 'evaluation.flip'"):
        sdeseg_jax.load(run[0], {"evaluation.flop": True})
    with pytest.raises(UserError, match="config.predict.batch_size"):
        sdeseg_jax.load(run[0], {"predict.batch_size": -1})


def test_images_that_are_refused(run):
    model = sdeseg_jax.load(run[0] / "depth")
    good = np.zeros((32, 64, 3), np.uint8)
    for images, kind, message in (
        (good, ValueError, r"should be several, \[N, H, W, 3\] or a list"),
        (Image.fromarray(good), ValueError, "should be several"),
        ([], ValueError, "images is empty"),
        ("a.png", TypeError, "not str"),
        (["a.png"], TypeError, r"images\[0\] should be an array, not a path"),
        (
            [good, good.astype(np.float32)],
            TypeError,
            r"images\[1\] should be uint8 .* float32; convert it: .*255 \* image",
        ),
        ([255.0 * good + 200], TypeError, r"float64; convert it: np.clip\(image, 0, 255\)"),
        ([good.astype(np.int64)], TypeError, "int64"),
        ([good[..., 0]], ValueError, "for a grey image"),
        (np.zeros((1, 32, 64, 4), np.uint8), ValueError, "drop the alpha channel"),
        ([good.transpose(2, 0, 1)], ValueError, "put the channels last"),
        ([good[:0]], ValueError, r"not \(0, 64, 3\)"),
        ([Image.fromarray(good).convert("L")], ValueError, "mode L; use image.convert"),
    ):
        with pytest.raises(kind, match=message):
            model.predict(images)
    with pytest.warns(UserWarning, match="only 0 and 1"):
        model.predict([good + np.uint8(1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict([good])
