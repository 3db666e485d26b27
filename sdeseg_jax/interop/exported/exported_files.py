"""Trained networks as files that run without this package: StableHLO (JAX), SavedModel (TensorFlow), ONNX.

All take images uint8 [batch, height, width, 3] and return named arrays. Preprocessing is included. `metadata.json`
beside each (and in the ONNX file) has class names, colours and the meaning of the outputs.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import numpy as np
from jax.extend.mlir import serialize_portable_artifact

from sdeseg_jax.models.layers import keep_convolutions
from sdeseg_jax.storage.atomic_files import atomic_write
from sdeseg_jax.storage.json_files import read_json
from sdeseg_jax.training.replication import replicate_inference

INPUT = "images"
PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms that StableHLO and SavedModel are lowered for."""

METADATA = "metadata.json"
_STABLEHLO_VERSION = "1.0.0"
"""StableHLO's version in SavedModels, for which newer ones keep promises of compatibility."""

STABLEHLO, ONNX = "model.stablehlo", "model.onnx"

Function = Callable[[jax.Array], Mapping[str, jax.Array]]
"""Images uint8 [B, H, W, 3] -> named arrays [B, ...]; with weights as constants."""


class MissingLibraryError(ValueError):
    """A library that a format needs is not installed; the message names it."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """A loaded file.

    Attributes:
      kind: "stablehlo", "saved_model" or "onnx".
      metadata: from beside it.
      run: images uint8 [B, H, W, 3] -> named arrays [B, ...].
    """

    kind: str
    metadata: Mapping[str, Any]
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]]


def save(kind: str, function: Function, metadata: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Writes a function to an empty folder, which is created if it is missing.

    Args:
      kind: key of KINDS.
      metadata: JSON-serializable; `image_size` is (height, width) of the images.

    Raises:
      MissingLibraryError: the format needs a library that is not installed.
      onnx_primitives.UnsupportedError: ONNX cannot express something that the function uses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = (*metadata["image_size"], 3)
    KINDS[kind].save(function, shape, metadata, folder)
    atomic_write(folder / METADATA, json.dumps(metadata, indent=1) + "\n")


def load(path: pathlib.Path, cpu: bool = False) -> Exported:
    """Loads a folder that `save` wrote, or a file in it. With `cpu`, it runs on the CPU, where float32 is exact.

    Raises:
      ValueError: the file does not exist or cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise ValueError("does not exist")
    kinds = [name for name, kind in KINDS.items() if (folder / kind.file).exists()]
    if not kinds:
        places = [place / name for place in (folder, folder / "export", folder.parent) for name in KINDS]
        inner = [place for place in places if (place / METADATA).exists()]
        hint = f"; use {inner[0]}" if inner else ""
        if (folder / "config.json").exists():
            hint += "; for a workdir, use --workdir"
        raise ValueError(f"is not an exported file (expected one of {', '.join(k.file for k in KINDS.values())}){hint}")
    metadata = read_json(folder / METADATA)
    if not isinstance(metadata, dict) or not {"image_size", "classes", "outputs", "inference"} <= set(metadata):
        raise ValueError(f"its {METADATA} does not describe an exported network")
    try:
        run = KINDS[kinds[0]].load(folder, cpu)
    except MissingLibraryError:
        raise
    except Exception as error:  # each runtime raises its own kinds
        raise ValueError(f"{KINDS[kinds[0]].file} cannot be loaded: {str(error).splitlines()[0][:300]}") from error
    return Exported(kinds[0], metadata, run)


def cpu_device() -> jax.Device:
    """Returns a CPU, or another device if --platform left out CPUs."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


def _export(function: Function, shape) -> jax.export.Exported:
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *shape), np.uint8)
    return jax.export.export(jax.jit(function), platforms=PLATFORMS)(images)


def _save_stablehlo(function: Function, shape, metadata, folder: pathlib.Path) -> None:
    atomic_write(folder / STABLEHLO, bytes(_export(function, shape).serialize()))


def _load_stablehlo(folder: pathlib.Path, cpu: bool):
    exported = jax.export.deserialize(bytearray((folder / STABLEHLO).read_bytes()))
    if cpu:
        jitted, device = jax.jit(exported.call), cpu_device()
        return lambda images: jax.device_get(jitted(jax.device_put(images, device)))
    mapped = replicate_inference(lambda _, images: exported.call(images), prepare=None)

    def run(images):
        devices = jax.local_device_count()
        filled = np.concatenate([images, np.repeat(images[-1:], -len(images) % devices, axis=0)])
        return jax.tree.map(lambda x: x[: len(images)], mapped((), filled))

    return run


def _save_saved_model(function: Function, shape, metadata, folder: pathlib.Path) -> None:
    tf = _import("tensorflow", "SavedModel")
    from tensorflow.compiler.tf2xla.python import xla

    exported = _export(function, shape)
    # jax2tf writes the newest StableHLO, which released versions of TensorFlow cannot read.
    program = serialize_portable_artifact(exported.mlir_module(), _STABLEHLO_VERSION)
    types = [tf.as_dtype(output.dtype) for output in exported.out_avals]
    shapes = [(None, *output.shape[1:]) for output in exported.out_avals]

    def predict(images):
        outputs = xla.call_module(
            [images],
            version=exported.calling_convention_version,
            module=program,
            Tout=types,
            Sout=shapes,
            platforms=[platform.upper() for platform in exported.platforms],
        )
        return jax.tree.unflatten(exported.out_tree, outputs)

    module = tf.Module()
    signature = tf.TensorSpec((None, *shape), tf.uint8, name=INPUT)
    module.predict = tf.function(predict, autograph=False, input_signature=[signature])
    module.metadata = tf.Variable(json.dumps(metadata), trainable=False)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.predict})


def _load_saved_model(folder: pathlib.Path, cpu: bool):
    tf = _import("tensorflow", "SavedModel")
    with tf.device("/CPU:0" if cpu else None):
        module = tf.saved_model.load(str(folder))

    def run(images):
        with tf.device("/CPU:0" if cpu else None):
            return {name: x.numpy() for name, x in module.predict(tf.constant(images)).items()}

    return run


def _save_onnx(function: Function, shape, metadata, folder: pathlib.Path) -> None:
    _import("onnx", "ONNX")
    from sdeseg_jax.interop.exported.onnx_graph import to_onnx

    classes = metadata["classes"] or {"names": []}
    props = {"metadata": json.dumps(metadata), "names": json.dumps(dict(enumerate(classes["names"])))}
    with keep_convolutions():
        # A new function: JAX would remember how it traced `function` for another format.
        model = to_onnx(lambda images: function(images), INPUT, shape, np.uint8, props)
    atomic_write(folder / ONNX, model.SerializeToString())


def _load_onnx(folder: pathlib.Path, cpu: bool):
    runtime = _import("onnxruntime", "ONNX")
    providers = ["CPUExecutionProvider"] if cpu else runtime.get_available_providers()
    session = runtime.InferenceSession(str(folder / ONNX), providers=providers)
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(None, {INPUT: images}), strict=True))


def _import(library: str, format_: str):
    try:
        return __import__(library)
    except ImportError as error:
        raise MissingLibraryError(f"{format_} needs {library}: pip install {library}") from error


@dataclasses.dataclass(frozen=True)
class _Kind:
    file: str
    save: Callable
    load: Callable


KINDS = {
    "stablehlo": _Kind(STABLEHLO, _save_stablehlo, _load_stablehlo),
    "saved_model": _Kind("saved_model.pb", _save_saved_model, _load_saved_model),
    "onnx": _Kind(ONNX, _save_onnx, _load_onnx),
}
"""Formats by their names in `config.export.formats`."""
