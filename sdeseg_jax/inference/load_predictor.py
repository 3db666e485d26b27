"""`sdeseg_jax.load`: a trained or exported network as a function of images, for other Python programs."""

import dataclasses
import functools
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdeseg_jax.config import SETTINGS, UserError, default_config, validate
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.inference.predictors import ExportedPredictor, RunPredictor, predict_batch
from sdeseg_jax.inference.trained_model import STAGES
from sdeseg_jax.interop.exported.exported_files import METADATA
from sdeseg_jax.runs import stored_config
from sdeseg_jax.runs.workdir import FOLDERS, Workdir
from sdeseg_jax.training.replication import round_up

FILES = ("labels", "confidence", "disparity")
"""Kinds of predictions, as `config.predict.files` calls them, that a loaded network computes."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a network predicts for images, each of the image's own size.

    Arrays [N, H, W] for an array of images, lists of arrays [H, W] for a list of them.

    Attributes:
      labels: uint8, positions in `Predictor.classes`; None for a depth network alone.
      confidence: float32, probability of the label; None for a depth network alone.
      disparity: float32 in [0, 1], larger is nearer (see `Predictor.metadata["depth"]`); None without a depth network.
    """

    labels: Any = None
    confidence: Any = None
    disparity: Any = None


class Predictor:
    """A network that is ready to predict.

    Attributes:
      classes: names of the classes, in the order of the labels; () for a depth network alone.
      palette: uint8 [C, 3], their colours.
      image_size: (height, width) of the images that it was trained on.
      metadata: which network it is, its classes, and what its disparity means.
    """

    def __init__(self, predictor: RunPredictor | ExportedPredictor, batch_size: int):
        """Wraps a predictor of the job `predict`; `batch_size` images are predicted at once."""
        self._predictor, self._batch_size = predictor, batch_size
        classes = predictor.classes
        self.classes: tuple[str, ...] = classes.names if classes else ()
        self.palette = np.array(classes.colors if classes else (), np.uint8).reshape(-1, 3)
        self.image_size: tuple[int, int] = predictor.image_size
        self.metadata: Mapping[str, Any] = predictor.metadata

    def predict(self, images: np.ndarray | Sequence[np.ndarray]) -> Predictions:
        """Predicts images, with the numbers that the job `predict` writes.

        Args:
          images: uint8 RGB, [N, H, W, 3], or a list of [H, W, 3] of any sizes.

        Raises:
          TypeError, ValueError: images of another type or shape; the message says what to do.
        """
        checked = [check_image(image, f"images[{i}]") for i, image in enumerate(_listed(images))]
        by_size: dict[tuple, list[int]] = {}
        for i, image in enumerate(checked):
            by_size.setdefault(image.shape[:2], []).append(i)
        results: list[dict[str, np.ndarray]] = [{} for _ in checked]
        for size, places in by_size.items():
            for start in range(0, len(places), self._batch_size):
                batch = places[start : start + self._batch_size]
                inputs = [self._predictor.fit(checked[i]) for i in batch]
                outputs = predict_batch(self._predictor, inputs, size, self._batch_size)
                for i, one in zip(batch, outputs, strict=True):
                    results[i] = one
        stack = np.stack if isinstance(images, np.ndarray) else list

        def output(name: str):
            return stack([one[name] for one in results]) if name in self._predictor.outputs else None

        return Predictions(output("label"), output("confidence"), output("disparity"))


def _listed(images) -> Sequence:
    if isinstance(images, np.ndarray) and images.ndim == 3 or hasattr(images, "mode"):
        raise ValueError("images should be several, [N, H, W, 3] or a list; pass a single one as [image]")
    if isinstance(images, (str, pathlib.Path)) or not hasattr(images, "__len__"):
        raise TypeError(f"images should be an array [N, H, W, 3] or a list of arrays, not {type(images).__name__}")
    if not len(images):
        raise ValueError("images is empty")
    return images


def check_image(image, name: str) -> np.ndarray:
    """Returns an image as an array; raises TypeError or ValueError if it is not uint8 [H, W, 3]."""
    if isinstance(image, (str, pathlib.Path)):
        raise TypeError(f"{name} should be an array, not a path; read it, e.g. np.asarray(PIL.Image.open(path))")
    if getattr(image, "mode", "RGB") != "RGB":
        raise ValueError(f"{name} is a PIL image of mode {image.mode}; use image.convert('RGB')")
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[-1] != 3 or not array.size:
        raise ValueError(f"{name} should be RGB, [H, W, 3], not {array.shape}{_remedy(array.shape)}")
    if array.dtype != np.uint8:
        unit = np.issubdtype(array.dtype, np.floating) and np.nanmax(array) <= 1
        scaled = "(255 * image).round()" if unit else "image"
        remedy = f"np.clip({scaled}, 0, 255).astype(np.uint8)"
        raise TypeError(f"{name} should be uint8 in 0..255, not {array.dtype}; convert it: {remedy}")
    if array.max() == 1:
        warnings.warn(f"{name} holds only 0 and 1: was it scaled to [0, 1] and then made uint8?", stacklevel=3)
    return array


def _remedy(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "; for a grey image, np.repeat(image[..., None], 3, axis=-1)"
    if shape[-1:] == (4,):
        return "; drop the alpha channel: image[..., :3]"
    if len(shape) == 3 and shape[0] == 3:
        return "; put the channels last: image.transpose(1, 2, 0)"
    return ""


def load(path: str | pathlib.Path, settings: Mapping[str, Any] | None = None) -> Predictor:
    """Loads a trained or exported network; it runs on all devices that JAX has.

    Args:
      path: a workdir (its method, else its baseline, else its depth network), the folder of one training in it
        (`runs/mine/baseline`), or a folder that job `export` wrote.
      settings: of prediction, e.g. {"evaluation.flip": True, "predict.batch_size": 1}; for a workdir, any setting.

    Raises:
      UserError, CheckpointError: the folder is no run, its training is not finished, or a setting is wrong.

    Example:
      >>> import numpy as np
      >>> import sdeseg_jax
      >>> model = sdeseg_jax.load("runs/streets")
      >>> found = model.predict(np.zeros((2, 96, 192, 3), np.uint8))
      >>> found.labels.shape, found.confidence.dtype, model.classes[0]
      ((2, 96, 192), dtype('float32'), 'road')
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise UserError(f"{path} does not exist; name a workdir, the folder of a training in it, or an exported folder")
    if path.is_file() or (path / METADATA).exists():
        config = _with_settings(default_config(), settings or {})
        return Predictor(ExportedPredictor(config, str(path), str(path)), round_up(config.predict.batch_size))
    root, stage = _find_run(path)
    config = stored_config.get_config(str(root))
    config.predict.stage = stage
    config = _with_settings(config, {**(settings or {}), "predict.files": FILES})
    return Predictor(RunPredictor(config, Workdir(str(root), config)), round_up(config.predict.batch_size))


def _find_run(path: pathlib.Path) -> tuple[pathlib.Path, str]:
    """Returns a workdir and the stage whose network is meant, "" for the preferred one.

    Raises:
      UserError: the folder is no run.
    """
    if (path / stored_config.FILE).exists():
        return path, ""
    stage = next((stage for stage in STAGES if FOLDERS[stage] == path.name), None)
    if (path.parent / stored_config.FILE).exists():
        if stage:
            return path.parent, stage
        trainings = ", ".join(FOLDERS[stage] for stage in STAGES)
        raise UserError(f"{path} is not the folder of a training ({trainings}); {path.parent} is the workdir")
    runs = sorted(str(file.parent) for file in path.glob(f"*/{stored_config.FILE}"))[:3]
    hint = f"; runs in it: {', '.join(runs)}" if runs else ""
    raise UserError(f"{path} is no run (it has no {stored_config.FILE}) and no exported folder (no {METADATA}){hint}")


def _with_settings(config, settings: Mapping[str, Any]):
    for key, value in settings.items():
        if key not in SETTINGS:
            raise UserError(f"settings: '{key}' is no setting{nearest(key, SETTINGS)}")
        *sections, name = key.split(".")
        section = functools.reduce(lambda node, part: node[part], sections, config)
        with section.ignore_type():
            section[name] = tuple(value) if isinstance(value, list) else value
    validate(config)
    return config
