"""Job `export`: a run's networks as files that work without this package, each compared with the networks."""

import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Collection, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.config import ConfigError, UserError
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.inference import trained_model
from sdeseg_jax.inference.predictors import prediction_settings, resize
from sdeseg_jax.inference.sliding_window import read_inference
from sdeseg_jax.inference.trained_model import TrainedModel
from sdeseg_jax.interop.exported import exported_files
from sdeseg_jax.interop.exported.onnx_primitives import UnsupportedError
from sdeseg_jax.runs import open_datasets
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.storage.atomic_files import TEMPORARY
from sdeseg_jax.storage.json_files import read_json
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.initialization import load_variables

log = logging.getLogger(__name__)

WEIGHTS = "weights"
SAMPLES = 2
"""Images of the dataset, beside one of noise, on which exports are compared with the networks."""

OUTPUTS = {
    "label": "uint8 [batch, height, width]: class id, the position in `classes`",
    "confidence": "float32 [batch, height, width]: probability of that class",
    "probabilities": "float32 [batch, height, width, classes]",
    "disparity": "float32 [batch, height, width], in [0, 1], see `depth`",
}


class ExportError(UserError):
    """An exported file differs from the network; it is removed."""


def run_job(config, workdir: Workdir) -> None:
    """Exports into `export/`: `weights/`, `stablehlo/`, `saved_model/`, `onnx/`, as `config.export.formats` says.

    Raises:
      UserError, CheckpointError: there is no finished training, or it does not fit the config.
      ExportError: a file differs from the network by more than `config.export.tolerance`.
    """
    if jax.process_count() > 1:
        raise UserError("--job=export runs on one host")
    model = trained_model.load(config, workdir, float32=True)
    folder = workdir.folder("export")
    with workdir.stage("export", config) as metrics:
        size = tuple(config.export.image_size) or model.image_size
        function = make_function(config, model)
        metadata = make_metadata(config, model, size)
        images = test_images(config, size)
        reference = reference_outputs(config, model, images)
        _remove_outdated(folder, config.export.formats, metadata)
        for kind in config.export.formats:
            target, temporary = folder / kind, folder / f"{kind}{TEMPORARY}"
            shutil.rmtree(target, ignore_errors=True)  # if this export fails, an earlier one would pass for it
            shutil.rmtree(temporary, ignore_errors=True)
            if kind == WEIGHTS:
                metrics[kind] = _export_weights(model, temporary)
                write_json(temporary / exported_files.METADATA, metadata)
            else:
                found = _export_function(kind, function, metadata, temporary, images)
                metrics[kind] = _compare(kind, found, reference, config.export.tolerance, temporary)
            os.replace(temporary, target)
            shown = ", ".join(f"{key} {value:.2g}" for key, value in metrics[kind].items())
            log.info("%s: largest differences from the network: %s", target, shown)
    print(f"Exports are in {folder}; {exported_files.METADATA} in each describes its input and outputs", flush=True)


def _remove_outdated(folder: pathlib.Path, kept: Collection[str], metadata: Mapping) -> None:
    """Removes exports of other weights in formats that are not exported now: they would pass for the new ones."""
    for kind in (WEIGHTS, *exported_files.KINDS):
        path = folder / kind / exported_files.METADATA
        if kind not in kept and path.parent.exists():
            try:
                same = read_json(path)["weights"] == metadata["weights"]
            except (ValueError, KeyError, TypeError):
                same = False
            if not same:
                log.warning("%s holds an export of other weights and is removed", path.parent)
                shutil.rmtree(path.parent)


def make_function(config, model: TrainedModel) -> exported_files.Function:
    """Function of images uint8 [B, H, W, 3] -> named arrays, segmented as `config.evaluation` says, with the weights
    as constants in it."""
    inference = read_inference(config, model.image_size)

    def function(images: jax.Array) -> Mapping[str, jax.Array]:
        outputs = model.predict(model.variables, images.astype(jnp.float32) / 255.0, inference)
        found = trained_model.most_probable_labels(outputs)
        if config.export.probabilities and "probabilities" in outputs:
            found["probabilities"] = outputs["probabilities"]
        return found

    return function


def make_metadata(config, model: TrainedModel, size: tuple[int, int]) -> dict:
    """Returns the metadata that is written beside every exported file."""
    segmentation, depth = "segmentation" in model.networks, "depth" in model.networks
    names = ("label", "confidence") if segmentation else ()
    names += ("probabilities",) if segmentation and config.export.probabilities else ()
    names += ("disparity",) if depth else ()
    return {
        **model.metadata,
        "image_size": list(size),
        "input": f"{exported_files.INPUT}: uint8 [batch, {size[0]}, {size[1]}, 3], RGB as stored; scaled, normalised "
        "and resized inside",
        "outputs": {name: OUTPUTS[name] for name in names},
        "inference": read_inference(config, model.image_size).describe(size),
        "settings": prediction_settings(config, model.image_size),
        "precision": "float32",
    }


def test_images(config, size: tuple[int, int]) -> np.ndarray:
    """Returns images to compare on, uint8 [N, *size, 3]: noise, and some of the dataset if it can be read."""
    images = [np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)]
    try:
        dataset = open_datasets.open_training(config)
        images += [resize(image, size) for image in _read_samples(dataset)]
    except UserError as error:
        log.warning("exports are compared on noise alone, because the dataset cannot be read: %s", error)
    return np.stack(images)


def _read_samples(dataset: FrameDataset) -> np.ndarray:
    batch, count = next(evaluation_batches(dataset, dataset.index.targets[:SAMPLES], SAMPLES, ("image",)))
    return batch["image"][:count]


def reference_outputs(config, model: TrainedModel, images: np.ndarray) -> Mapping[str, np.ndarray]:
    """Returns the networks' outputs, computed on the CPU, where float32 is exact everywhere."""
    inference = read_inference(config, model.image_size)
    cpu = exported_files.cpu_device()

    @jax.jit
    def predict(variables, images):
        outputs = model.predict(variables, images.astype(jnp.float32) / 255.0, inference)
        return {**trained_model.most_probable_labels(outputs), **outputs}

    return jax.device_get(predict(jax.device_put(model.variables, cpu), jax.device_put(images, cpu)))


def differences(found: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns how far an exported file's outputs are from the network's.

    Args:
      found: outputs of the file.
      reference: from `reference_outputs`, for the same images.

    Returns:
      Largest absolute difference of each numeric output; for labels, how far the probability of the class that the
      file chose is below that of the network's best class.
    """
    result = {}
    for name, values in found.items():
        if values.shape != reference[name].shape:
            result[name] = float("inf")
        elif name == "label":
            probabilities = reference["probabilities"]
            valid = np.minimum(values, probabilities.shape[-1] - 1).astype(np.int64)
            chosen = np.take_along_axis(probabilities, valid[..., None], axis=-1)[..., 0]
            below = np.where(values == valid, probabilities.max(axis=-1) - chosen, np.inf)
            result[name] = float(below.max())
        else:
            result[name] = float(np.max(np.abs(values.astype(np.float64) - reference[name])))
    return result


def _export_function(
    kind: str, function: Callable, metadata: Mapping, folder: pathlib.Path, images: np.ndarray
) -> list[Mapping[str, np.ndarray]]:
    """Writes a file; returns its outputs for all images and for one. Raises ExportError, ConfigError."""
    try:
        exported_files.save(kind, function, metadata, folder)
        loaded = exported_files.load(folder, cpu=True)
        found = [loaded.run(images), loaded.run(images[:1])]
    except (exported_files.MissingLibraryError, UnsupportedError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError("export.formats", f"'{kind}': {error}. Fix this, or leave out the format.") from error
    if set(found[0]) != set(metadata["outputs"]):
        shutil.rmtree(folder, ignore_errors=True)
        raise ExportError(f"{kind}: the file returns {sorted(found[0])}, not {sorted(metadata['outputs'])}")
    return found


def _compare(
    kind: str, found: list[Mapping], reference: Mapping, tolerance: float, folder: pathlib.Path
) -> dict[str, float]:
    """Returns the largest differences from the network; removes the file and raises ExportError if one is too large."""
    by_batch = [
        differences(outputs, {name: values[: len(next(iter(outputs.values())))] for name, values in reference.items()})
        for outputs in found
    ]
    largest = {name: max(one[name] for one in by_batch) for name in by_batch[0]}
    wrong = {name: value for name, value in largest.items() if not value <= tolerance}
    if wrong:
        shutil.rmtree(folder, ignore_errors=True)
        listed = ", ".join(f"{name} by {value:.2g}" for name, value in wrong.items())
        raise ExportError(
            f"{kind}: the exported file differs from the network: {listed}, more than config.export.tolerance = "
            f"{tolerance:g}. It was removed."
        )
    return largest


def _export_weights(model: TrainedModel, folder: pathlib.Path) -> dict[str, float]:
    """Writes the weights alone, a checkpoint folder per network, reads them back, and compares them."""
    largest = {}
    for name, variables in model.variables.items():
        if name == "depth" and variables is model.variables.get("segmentation"):
            continue
        with Checkpoints(folder / name, keep=1, owner=True) as checkpoints:
            checkpoints.save(1, variables)
            checkpoints.wait()
        again = load_variables(folder / name)
        pairs = zip(jax.tree.leaves(variables), jax.tree.leaves(again), strict=True)
        largest[name] = max(float(np.max(np.abs(a - b))) if np.size(a) else 0.0 for a, b in pairs)
        if largest[name]:
            raise ExportError(f"{WEIGHTS}: {folder / name} differs from what was written; check the disk for errors")
    return largest
