"""Predicting with an exported file, without any training."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.config import UserError, default_config
from sdeseg_jax.inference.predictors import prediction_settings, resize
from sdeseg_jax.inference.trained_model import most_probable_labels
from sdeseg_jax.interop.exported import exported_files
from sdeseg_jax.jobs import load_job
from sdeseg_jax.jobs.export import differences
from sdeseg_jax.runs.workdir import Workdir

predict = load_job("predict")

METADATA = {
    "image_size": [32, 64],
    "trained_image_size": [32, 64],
    "classes": {"protocol": "own", "names": ["road", "car"], "colors": [[1, 2, 3], [4, 5, 6]]},
    "outputs": {"label": ""},
    "inference": "input 32x64, whole image",
    "settings": json.loads(json.dumps(prediction_settings(default_config(), (32, 64)))),
    "stage": "train",
    "network": "student",
}


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Folder of an exported file: every bright pixel is a car."""
    folder = tmp_path_factory.mktemp("export") / "stablehlo"
    exported_files.save("stablehlo", lambda x: {"label": (x[..., 0] > 127).astype(jnp.uint8)}, METADATA, folder)
    return folder


@pytest.fixture
def make_export(export, tmp_path):
    """make_export(...) -> folder of that file with other metadata."""

    def make(**changes):
        shutil.copytree(export, tmp_path / "own", dirs_exist_ok=True)
        (tmp_path / "own" / "metadata.json").write_text(json.dumps(METADATA | changes))
        return tmp_path / "own"

    return make


@pytest.fixture
def run(tmp_path):
    """run(folder, section__name=value, ...) predicts an image with an exported file -> its labels."""
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")

    def call(folder, **changes):
        config = default_config()
        for key, value in changes.items():
            section, name = key.split("__")
            config[section][name] = value
        predict(config, None, input=[str(tmp_path / "a.png")], output=str(tmp_path / "out"), model=str(folder))
        return np.asarray(Image.open(tmp_path / "out" / "labels" / "a.png")), image[..., 0] > 127

    return call


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"evaluation__flip": True}, "config.evaluation.flip = True would .* --job=export --config.evaluation.flip=T"),
        ({"evaluation__window": (32, 32)}, r"window = \(32, 32\) would have .* --config.evaluation.window=32,32$"),
        ({"evaluation__scales": (0.5, 1.0)}, "--config.evaluation.scales=0.5,1.0$"),
        ({"evaluation__input_size": (64, 64)}, "as it was exported .input 32x64, whole image.*input_size=64,64$"),
        ({"evaluation__network": "teacher"}, "config.evaluation.network = 'teacher'"),
        ({"predict__stage": "baseline"}, "config.predict.stage = 'baseline'"),
        (
            {"predict__stage": "baseline", "evaluation__flip": True},
            "config.evaluation.flip = True, config.predict.stage = 'baseline' would",
        ),
    ],
)
def test_settings_that_an_exported_file_lacks_are_refused(make_export, run, tmp_path, changes, message):
    folder = make_export()
    with pytest.raises(UserError, match=f"--model={folder}: .*{message}"):
        run(folder, **changes)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def mirrored_windows(make_export):
    """A file that was exported with mirrored windows, and with the teacher of a run that had none."""
    config = default_config()
    config.evaluation.update(flip=True, window=(32, 32), network="teacher")
    return make_export(settings=prediction_settings(config, (32, 64)))


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation__flip": True, "evaluation__window": (32, 32), "predict__stage": "train"},
        {"evaluation__flip": True},
        {"evaluation__input_size": (32, 64), "evaluation__network": "teacher"},
    ],
)
def test_settings_that_a_file_was_exported_with_are_accepted(mirrored_windows, run, changes):
    np.testing.assert_array_equal(*run(mirrored_windows, **changes))


def test_advice_to_export_again_has_all_requested_settings(mirrored_windows, run):
    with pytest.raises(UserError, match="input_size = .* would.*input_size=64,64 --config.evaluation.flip=True$") as e:
        run(mirrored_windows, evaluation__flip=True, evaluation__input_size=(64, 64))
    assert "flip = True" not in str(e.value)


def test_files_without_recorded_settings_still_predict(make_export, run):
    folder = make_export()
    known = ("image_size", "classes", "outputs", "inference")
    (folder / "metadata.json").write_text(json.dumps({key: METADATA[key] for key in known}))
    np.testing.assert_array_equal(*run(folder))
    with pytest.raises(UserError, match="config.evaluation.flip = True would have no effect"):
        run(folder, evaluation__flip=True)


@pytest.mark.parametrize(
    "wrong", [{"classes": {"names": ["a"]}}, {"image_size": 3}, {"outputs": None}, {"settings": "abc"}]
)
def test_damaged_metadata_of_an_export_is_refused(make_export, run, wrong):
    with pytest.raises(UserError, match="metadata.json is damaged"):
        run(make_export(**wrong))


def test_bad_arguments_are_refused_before_work(make_export, run, tmp_path):
    config, model, out = default_config(), str(make_export()), str(tmp_path / "out")
    run(model)
    image = [str(tmp_path / "a.png")]
    with pytest.raises(UserError, match="--output is missing"):
        predict(config, None, input=image, model=model)
    with pytest.raises(UserError, match="--input is missing"):
        predict(config, None, output=out, model=model)
    with pytest.raises(UserError, match="has other content"):
        predict(config, None, input=image, output=str(tmp_path), model=model)
    with pytest.raises(UserError, match=f"--model={tmp_path}: is not an exported file"):
        predict(config, None, input=image, output=out, model=str(tmp_path))
    with pytest.raises(UserError, match="holds no finished training to predict with"):
        predict(config, Workdir(tmp_path / "empty"), input=image, output=out)


def test_wrong_labels_count_by_how_wrong_they_are():
    probabilities = np.array([[[[0.6, 0.4], [0.50001, 0.49999]]]], np.float32)
    reference = {"probabilities": probabilities, "label": np.zeros((1, 1, 2), np.uint8)}
    assert differences({"label": np.array([[[0, 1]]], np.uint8)}, reference)["label"] < 1e-4  # as good as a tie
    assert differences({"label": np.array([[[1, 0]]], np.uint8)}, reference)["label"] == pytest.approx(0.2)
    assert differences({"label": np.array([[[7, 0]]], np.uint8)}, reference)["label"] == np.inf
    assert differences({"label": np.zeros((1, 2, 2), np.uint8)}, reference)["label"] == np.inf


def test_images_are_resized_as_training_images_were():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    wanted = np.asarray(Image.fromarray(image).resize((64, 32), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(resize(image, (32, 64)), wanted)
    assert resize(image, (50, 70)) is image


@pytest.mark.parametrize("classes", [1, 2, 19, 256])
def test_the_label_is_the_first_class_with_the_largest_probability(classes):
    """Few levels: most pixels have several classes with the same probability."""
    probabilities = np.random.default_rng(classes).integers(0, 4, (2, 16, 8, classes)).astype(np.float32)
    found = most_probable_labels({"probabilities": jnp.asarray(probabilities)})
    np.testing.assert_array_equal(found["label"], probabilities.argmax(axis=-1))
    assert found["label"].dtype == np.uint8
