"""Predictors: the networks of a run, or an exported file. Both take images of any size."""

import pathlib
import shlex
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from sdeseg_jax.config import UserError, default_config, flatten
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.inference import trained_model
from sdeseg_jax.inference.sliding_window import Inference, read_inference
from sdeseg_jax.interop.exported import exported_files
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.replication import place, replicate_inference


class RunPredictor:
    """The networks of a finished run, on all devices.

    Attributes:
      classes: of the labels; None for only a depth network.
      metadata: see `trained_model.describe`.
      image_size: (height, width) of the training images, or that an exported file takes.
      outputs: names of the arrays that `predict` returns.
      inference: how images are predicted, in words.
    """

    def __init__(self, config, workdir: Workdir):
        """Loads the networks; raises the errors of `trained_model.load`."""
        self._model = trained_model.load(config, workdir)
        self.classes, self.metadata = self._model.classes, self._model.metadata
        self.image_size = self._model.image_size
        options = read_inference(config, self._model.image_size)
        self._exact = tuple(config.evaluation.input_size)
        self._windows = bool(options.window)
        # `fit` resizes images like training images; for windows they keep their size.
        own = Inference(self._exact or None if self._windows else None, options.window, options.flip, options.scales)
        self.outputs = ("label", "confidence") if "segmentation" in self._model.networks else ()
        self.outputs += ("disparity",) if "depth" in self._model.networks else ()
        self.inference = self._describe(own)

        def function(variables, images):
            return self._model.predict(variables, images, own)

        self._variables = place(self._model.variables)
        unwanted = () if "confidence" in config.predict.files else ("confidence",)

        def enlarge(outputs, rows, columns):
            enlarged = trained_model.enlarge(outputs, rows, columns)
            return {name: values for name, values in enlarged.items() if name not in unwanted}

        self._predict = replicate_inference(function, enlarge)

    def _describe(self, inference: Inference) -> str:
        height, width = self._exact or self._model.image_size
        if self._windows:
            seen = f"images resized to {height}x{width}" if self._exact else "images in their own resolution"
            depth = " (disparity: the whole image, resized to about as many pixels as the training images have)"
            words = f"{seen}, windows of {inference.window[0]}x{inference.window[1]}{depth}"
        elif self._exact:
            words = f"images resized to {height}x{width}"
        else:
            words = f"images resized to about {height * width} pixels ({height}x{width} of that shape) as in training"
        words = ", ".join([words, *inference.describe_views()])
        return words + "; probabilities and disparity enlarged bilinearly to the image's size"

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image uint8 [H, W, 3] to the size that the network takes it in."""
        if self._windows:
            return image
        return resize(image, self._exact or trained_model.fit_size(image.shape[:2], self._model.image_size))

    def predict(self, images: np.ndarray, size: tuple[int, int]) -> Mapping[str, np.ndarray]:
        """Predicts images.

        Args:
          images: uint8 [B, h, w, 3], from `fit`.
          size: (height, width) of the results.

        Returns:
          `outputs`, [B, height, width] each.
        """
        rows, columns = (
            trained_model.sample_positions(have, want, trained_model.round_up_to_bucket(want))
            for have, want in zip(images.shape[1:3], size, strict=True)
        )
        outputs = self._predict(self._variables, images, rows, columns)
        return {name: values[:, : size[0], : size[1]] for name, values in outputs.items()}


class ExportedPredictor:
    """An exported file: StableHLO on all devices, the others in their runtimes; attributes of `RunPredictor`."""

    def __init__(self, config, folder: str, where: str = ""):
        """Loads a file of job `export`; settings of prediction in `config` must be defaults, or those of the file.

        Args:
          folder: that the job wrote.
          where: how messages name it; by default as the flag of job `predict`.

        Raises:
          UserError: the file does not exist, is damaged, or was exported with other settings.
        """
        try:
            self._exported = exported_files.load(pathlib.Path(folder).expanduser())
            self.metadata = self._exported.metadata
            height, width = self.metadata["image_size"]
            self.image_size = (int(height), int(width))
            self.classes = ClassMap.from_json(self.metadata["classes"]) if self.metadata["classes"] else None
            self.outputs = tuple(self.metadata["outputs"])
            _check_settings(config, self.metadata)
        except (UserError, ValueError, KeyError, TypeError) as error:
            known = isinstance(error, (UserError, ValueError))
            why = error if known else f"{exported_files.METADATA} is damaged ({error!r})"
            raise UserError(f"{where or f'--model={folder}'}: {why}") from error
        self.inference = (
            f"exported file ({self._exported.kind}): images resized to {self.image_size[0]}x{self.image_size[1]}; "
            f"{self.metadata['inference']}; labels enlarged to the image's size by nearest neighbour, disparity and "
            "confidence bilinearly"
        )

    def fit(self, image: np.ndarray) -> np.ndarray:
        """As `RunPredictor.fit`."""
        return resize(image, self.image_size)

    def predict(self, images: np.ndarray, size: tuple[int, int]) -> Mapping[str, np.ndarray]:
        """As `RunPredictor.predict`."""
        outputs = self._exported.run(images)
        return {
            name: (enlarge_labels if name == "label" else _enlarge)(outputs[name], size)
            for name in ("label", "confidence", "disparity")
            if name in outputs
        }


def predict_batch(
    predictor: RunPredictor | ExportedPredictor, inputs: Sequence[np.ndarray], size: tuple[int, int], batch_size: int
) -> list[dict[str, np.ndarray]]:
    """Predicts up to `batch_size` images; fills the batch, because programs are compiled for one size.

    Args:
      inputs: uint8 [h, w, 3] each, from `fit`.
      size: (height, width) of the results.

    Returns:
      Output -> [height, width], for each image.
    """
    filled = np.stack([*inputs, *[inputs[-1]] * (batch_size - len(inputs))])
    outputs = predictor.predict(filled, size)
    return [{name: values[i] for name, values in outputs.items()} for i in range(len(inputs))]


def _check_settings(config, metadata: Mapping) -> None:
    """Raises UserError if the config asks for other settings than a file was exported with."""
    if unmet := unmet_settings(config, metadata):
        listed = ", ".join(f"config.{key} = {value!r}" for key, value in unmet.items())
        flags = " ".join(f"--config.{key}={shlex.quote(_flag(value))}" for key, value in _asked(config).items())
        raise UserError(
            f"{listed} would have no effect: an exported file predicts as it was exported ({metadata['inference']}). "
            f"Leave it out, or export the run again: --job=export {flags}"
        )


def unmet_settings(config, metadata: Mapping) -> dict[str, object]:
    """Returns the settings of prediction, 'section.key' -> value, that differ from those that a file was exported with.

    Settings with their default value are ignored.
    """
    exported_with = {**metadata.get("settings", {})}
    became = {"evaluation.network": metadata.get("network"), "predict.stage": metadata.get("stage")}

    def met(key: str, value) -> bool:
        value = list(value) if isinstance(value, tuple) else value
        return value == exported_with.get(key) or value == became.get(key)

    return {key: value for key, value in _asked(config).items() if not met(key, value)}


def prediction_settings(config, image_size: tuple[int, int]) -> dict[str, object]:
    """Returns the settings of prediction, 'section.key' -> value, for the metadata of an exported file.

    The network was trained on images of size `image_size` (height, width).
    """
    flat = flatten(config)
    own_size = {"evaluation.input_size": read_inference(config, image_size).input_size}
    return {key: flat[key] for key in _PREDICTION} | own_size


def _asked(config) -> dict[str, object]:
    """Returns the settings of prediction that differ from the default config."""
    asked, default = flatten(config), flatten(default_config())
    return {key: asked[key] for key in _PREDICTION if asked[key] != default[key]}


_PREDICTION = tuple(f"evaluation.{key}" for key in ("input_size", "window", "flip", "scales", "network"))
_PREDICTION += ("predict.stage",)
"""Settings of prediction: how, and with which network."""


def _flag(value) -> str:
    """Formats a setting's value for the command line."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def resize(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes an image uint8 [H, W, 3] to (height, width), with the filter that training images are prepared with."""
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def enlarge_labels(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes label maps [B, h, w] to (height, width) by nearest neighbour, with the corners aligned."""
    rows, columns = (
        np.rint(np.linspace(0, have - 1, want)).astype(np.int64)
        for have, want in zip(labels.shape[1:], size, strict=True)
    )
    return labels[:, rows[:, None], columns]


def _enlarge(maps: np.ndarray, size: Sequence[int]) -> np.ndarray:
    rows, columns = (
        trained_model.sample_positions(have, want) for have, want in zip(maps.shape[1:], size, strict=True)
    )
    return trained_model.interpolate(maps, rows, columns)
