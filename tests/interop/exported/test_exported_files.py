"""Exported files: loaded again, they have their metadata and compute the same."""

import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.interop.exported import exported_files
from sdeseg_jax.interop.exported.exported_files import KINDS, MissingLibraryError, load, save

WEIGHTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
METADATA = {
    "image_size": [6, 8],
    "classes": {"protocol": "own", "names": ["road", "car"], "colors": [[1, 2, 3], [4, 5, 6]]},
    "outputs": {"label": "", "confidence": ""},
    "inference": "whole image",
}


def function(images):
    logits = images.astype(jnp.float32) / 255 @ WEIGHTS
    return {"label": jnp.argmax(logits, -1).astype(jnp.uint8), "confidence": jnp.max(jax.nn.softmax(logits), -1)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    for kind in KINDS:
        save(kind, function, METADATA, root / kind)
    return root


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cpu", [True, False])
def test_round_trip_for_any_batch(folders, kind, cpu):
    loaded = load(folders / kind, cpu)
    assert loaded.kind == kind and loaded.metadata == METADATA
    for batch in (1, 5):  # neither can be split among the four devices
        images = np.random.default_rng(batch).integers(0, 256, (batch, 6, 8, 3), np.uint8)
        found, wanted = loaded.run(images), jax.device_get(function(images))
        assert found["label"].dtype == np.uint8 and found["label"].shape == (batch, 6, 8)
        np.testing.assert_array_equal(found["label"], wanted["label"])
        np.testing.assert_allclose(found["confidence"], wanted["confidence"], atol=1e-6)


def test_plain_libraries_run_the_files(folders):
    """As the README says, without this package."""
    images = np.full((2, 6, 8, 3), 100, np.uint8)
    wanted = np.asarray(function(images)["confidence"])
    program = jax.export.deserialize(bytearray((folders / "stablehlo" / "model.stablehlo").read_bytes()))
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}
    np.testing.assert_allclose(program.call(images)["confidence"], wanted, atol=1e-6)
    import tensorflow as tf

    model = tf.saved_model.load(str(folders / "saved_model"))
    found = model.signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(found["confidence"], wanted, atol=1e-6)
    assert json.loads(model.metadata.numpy())["classes"]["names"] == ["road", "car"]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folders / "onnx" / "model.onnx"))
    assert json.loads(session.get_modelmeta().custom_metadata_map["names"]) == {"0": "road", "1": "car"}
    assert json.loads(session.get_modelmeta().custom_metadata_map["metadata"]) == METADATA


def test_a_file_in_the_folder_names_it(folders):
    assert load(folders / "onnx" / "model.onnx").kind == "onnx"


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused(folders, kind, tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps(METADATA))
    (tmp_path / KINDS[kind].file).write_bytes((folders / kind / KINDS[kind].file).read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{KINDS[kind].file} cannot be loaded"):
        load(tmp_path)


def test_other_folders_are_refused(folders, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is not an exported file"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"is not an exported file.*; use .*stablehlo"):
        load(folders)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(ValueError, match="does not describe an exported network"):
        load(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w"):
        pass
    with pytest.raises(ValueError, match="does not describe an exported network"):
        load(tmp_path / "other.zip")


def test_a_missing_library_is_named(folders, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(exported_files, "__import__", absent, raising=False)
    with pytest.raises(MissingLibraryError, match="ONNX needs onnxruntime: pip install onnxruntime"):
        load(folders / "onnx")
