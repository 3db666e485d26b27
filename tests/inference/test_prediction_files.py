"""The files that `predict` writes, and the folders that it accepts."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdeseg_jax.config import UserError
from sdeseg_jax.data.builders.classes_json import read_classes
from sdeseg_jax.data.builders.label_pixels import read_label
from sdeseg_jax.data.builders.label_reading import choose_readings, decode_label
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.inference.prediction_files import (
    ENDINGS,
    MAX_JPEG_SIDE,
    SUMMARY,
    PredictionFiles,
    open_output,
    remove_leftovers,
)
from sdeseg_jax.inference.predictors import enlarge_labels
from sdeseg_jax.inference.trained_model import (
    STRIP,
    describe_depth,
    enlarge,
    fit_size,
    interpolate,
    round_up_to_bucket,
    sample_positions,
)
from sdeseg_jax.models.resize import resize_bilinear_align_corners

CLASSES = ClassMap("own-2", ("road", "car"), ((128, 64, 128), (0, 0, 142)))
DEPTH = {"unit": "none: up to scale", "formula": "depth = ..."}


def outputs(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "label": rng.integers(0, 2, (6, 8)).astype(np.uint8),
        "confidence": rng.uniform(0.5, 1, (6, 8)).astype(np.float32),
        "disparity": rng.uniform(0, 0.2, (6, 8)).astype(np.float32),
    }


def test_all_files_of_an_image(tmp_path):
    image, predicted = np.full((6, 8, 3), 100, np.uint8), outputs()
    with PredictionFiles(tmp_path, tuple(ENDINGS), CLASSES, DEPTH) as files:
        assert not files.has("a/b")
        panels = files.write("a/b", image, predicted, side_by_side=True).result()
    assert files.has("a/b") and panels.shape == (6, 24, 3)
    label = Image.open(tmp_path / "labels" / "a" / "b.png")
    np.testing.assert_array_equal(np.asarray(label), predicted["label"])  # ids, not colours
    np.testing.assert_array_equal(
        np.asarray(label.convert("RGB")), np.array(CLASSES.colors, np.uint8)[predicted["label"]]
    )
    assert json.loads(label.text["classes"]) == {"0": "road", "1": "car"}
    disparity = Image.open(tmp_path / "disparity" / "a" / "b.png")
    assert disparity.mode == "I;16" and disparity.text["unit"] == "none: up to scale"
    np.testing.assert_allclose(np.asarray(disparity) / 65535, predicted["disparity"], atol=1e-5)
    confidence = np.asarray(Image.open(tmp_path / "confidence" / "a" / "b.png")) / 65535
    np.testing.assert_allclose(confidence, predicted["confidence"], atol=1e-5)
    overlay = np.asarray(Image.open(tmp_path / "overlays" / "a" / "b.jpg")).astype(int)
    wanted = (100 + np.array(CLASSES.colors)[predicted["label"]]) / 2
    assert np.abs(overlay.mean(axis=(0, 1)) - wanted.mean(axis=(0, 1))).max() < 6


def test_colours_of_a_video_change_slowly(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    near = {"disparity": np.linspace(0.0, 0.1, 64, dtype=np.float32).reshape(8, 8)}
    far = {"disparity": near["disparity"] + 0.2}
    with PredictionFiles(tmp_path, ("disparity_color",), None, DEPTH) as files:
        files.write("v/0", image, near, clip="v")
        in_video, alone = (files.write(name, image, far, clip, True) for name, clip in (("v/1", "v"), ("x", "")))
        in_video, alone = in_video.result(), alone.result()
    assert in_video[:, 8:].mean() > alone[:, 8:].mean() + 30  # all of it is brighter than the first frame's range


@pytest.mark.parametrize("smaller", [False, True])
@pytest.mark.parametrize("with_colors", [False, True])
def test_label_files_are_right_as_labels_whatever_their_ids(tmp_path, with_colors, smaller):
    """Predictions hold positions of the classes; classes.json may give ids, in another order, and no colours."""
    entries = [{"name": "road", "id": 1}, {"name": "car", "id": 0}, {"name": "sky", "id": 9}]
    if with_colors:
        entries = [{**one, "color": color} for one, color in zip(entries, [*CLASSES.colors, (1, 2, 3)], strict=True)]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": entries}))
    classes, labels = read_classes(tmp_path / "classes.json", "own")
    label = np.resize(np.array([0, 1, 2, 2, 1], np.uint8), (6, 8))
    with PredictionFiles(tmp_path, ("labels",), classes, None) as files:
        files.write("a", np.zeros((6, 8, 3), np.uint8), {"label": label}).result()
    path = tmp_path / "labels/a.png"
    if smaller:  # keeps the text, shortens the palette
        with Image.open(path) as image:
            image.remap_palette([2, 0, 1]).save(path, pnginfo=copied_text(image))
    readings = choose_readings([str(path)], labels)
    np.testing.assert_array_equal(decode_label(*read_label(path), labels, readings[str(path)]), label)


def copied_text(image):
    notes = PngInfo()
    notes.add_text("classes", image.text["classes"])
    return notes


def test_label_files_of_other_classes_are_refused_as_labels(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps({"classes": [{"name": "sky"}, {"name": "road"}]}))
    labels = read_classes(tmp_path / "classes.json", "own")[1]
    with PredictionFiles(tmp_path, ("labels",), CLASSES, None) as files:
        files.write("a", np.zeros((6, 8, 3), np.uint8), outputs()).result()
    with pytest.raises(UserError, match="holds class 'car', as the file itself says, but classes.json has no class"):
        choose_readings([str(tmp_path / "labels/a.png")], labels)


def test_only_what_is_wanted_is_drawn_and_written(tmp_path):
    with PredictionFiles(tmp_path, ("labels",), CLASSES, None) as files:
        assert files.write("a", np.zeros((6, 8, 3), np.uint8), outputs()).result() is None
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def test_very_long_pictures_are_shrunk_and_their_labels_are_not(tmp_path):
    with PredictionFiles(tmp_path, ("labels", "overlays"), CLASSES, None) as files:
        label = np.zeros((2, 70_000), np.uint8)
        files.write("a", np.zeros((2, 70_000, 3), np.uint8), {"label": label}).result()
    assert Image.open(tmp_path / "overlays" / "a.jpg").width <= MAX_JPEG_SIDE
    assert Image.open(tmp_path / "labels" / "a.png").width == 70_000


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "labels").write_text("a file where a folder should be")
    with PredictionFiles(tmp_path, ("labels",), CLASSES, None) as files, pytest.raises(OSError):
        files.write("a", np.zeros((6, 8, 3), np.uint8), outputs()).result()


def test_leftovers_are_files_of_ours(tmp_path):
    (tmp_path / "labels" / "a.png.tmp").mkdir(parents=True)
    (tmp_path / "labels" / "a.png.tmp" / "b.png.tmp").touch()
    (tmp_path / "labels" / "notes.tmp").touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.tmp")) == ["a.png.tmp", "notes.tmp"]


def test_output_folders(tmp_path):
    model = {"stage": "train", "files": ["labels"]}
    new = tmp_path / "new" / "folder"
    assert open_output(new, model) == {} and new.is_dir()
    (new / f"{SUMMARY}.tmp").touch()
    (new / ".lock").touch()  # from a call that was killed right away
    assert open_output(new, model) == {}
    (new / SUMMARY).write_text(json.dumps({"model": model, "media": {"a": {}}}))
    assert open_output(new, model)["media"] == {"a": {}}
    with pytest.raises(UserError, match=r'another model or with other settings \(stage: "train" there, "baseline"'):
        open_output(new, {**model, "stage": "baseline"})
    (new / SUMMARY).write_text("{")
    with pytest.raises(UserError, match="is not valid JSON"):
        open_output(new, model)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        (photos / f"{number}.jpg").touch()
    with pytest.raises(UserError, match=r"has other content \(0.jpg, 1.jpg, 2.jpg and 2 more\)"):
        open_output(photos, model)
    with pytest.raises(UserError, match="is a file"):
        open_output(photos / "0.jpg", model)


def test_network_sees_as_many_pixels_as_in_training():
    assert fit_size((512, 1024), (512, 1024)) == (512, 1024)
    assert fit_size((1080, 2160), (512, 1024)) == (512, 1024)
    assert fit_size((1080, 2100), (512, 1024)) == (512, 1024)  # nearly the same shape
    height, width = fit_size((1920, 1080), (512, 1024))
    assert height % 32 == width % 32 == 0 and height > width
    assert abs(height * width / (512 * 1024) - 1) < 0.1 and abs(height / width / (1920 / 1080) - 1) < 0.1
    assert min(fit_size((10, 4000), (64, 64))) == 32


def test_labels_are_enlarged_with_corners_aligned():
    labels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    large = enlarge_labels(labels, (3, 5))
    assert large.shape == (1, 3, 5) and large[0, 0, 0] == 0 and large[0, -1, -1] == 5
    np.testing.assert_array_equal(enlarge_labels(labels, (2, 3)), labels)


@pytest.mark.parametrize("size", [(6, 8), (70, 300), (3, 500), (1, 1)])
def test_enlarging_by_strips_is_bilinear_with_corners_aligned(size):
    rng = np.random.default_rng(0)
    outputs = {
        "probabilities": rng.uniform(size=(2, 6, 8, 3)).astype(np.float32),
        "disparity": rng.uniform(size=(2, 6, 8)).astype(np.float32),
    }
    rows, columns = (
        sample_positions(have, want, round_up_to_bucket(want)) for have, want in zip((6, 8), size, strict=True)
    )
    assert len(rows[0]) % STRIP == 0
    found = {
        name: np.asarray(values)[:, : size[0], : size[1]]
        for name, values in enlarge({key: jnp.asarray(value) for key, value in outputs.items()}, rows, columns).items()
    }
    probabilities = np.asarray(resize_bilinear_align_corners(outputs["probabilities"], size))
    np.testing.assert_allclose(found["confidence"], probabilities.max(-1), atol=1e-6)
    assert (found["label"] == probabilities.argmax(-1)).mean() > 0.999
    disparity = np.asarray(resize_bilinear_align_corners(outputs["disparity"][..., None], size))[..., 0]
    np.testing.assert_allclose(found["disparity"], disparity, atol=1e-6)
    places = (sample_positions(have, want) for have, want in zip((6, 8), size, strict=True))
    np.testing.assert_allclose(interpolate(outputs["disparity"], *places), disparity, atol=1e-6)


def test_depth_is_described_with_its_unit():
    class Depth:
        supervision, min_depth, max_depth = "self", 0.1, 100.0

    facts = describe_depth(Depth)
    assert facts["unit"] == "none: up to scale" and "unknown factor" in facts["scale"]
    formula = facts["formula"].removeprefix("depth = ")
    assert abs(eval(formula, {"disparity": 0.0}) - 100) < 1e-6 and abs(eval(formula, {"disparity": 1.0}) - 0.1) < 1e-9
    Depth.supervision = "depth"
    assert describe_depth(Depth)["unit"] == "metres"
