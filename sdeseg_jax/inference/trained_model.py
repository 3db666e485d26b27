"""The networks of a finished run as one function of images, for `predict` and `export`."""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sdeseg_jax
from sdeseg_jax.config import UserError, uses_pool
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.data.dataset_error import DatasetError
from sdeseg_jax.inference.sliding_window import STRIDE, Inference, class_probabilities
from sdeseg_jax.models.network import Network
from sdeseg_jax.models.resize import resize_bilinear_align_corners
from sdeseg_jax.runs import build_networks
from sdeseg_jax.runs.config_per_stage import stage_config
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.installed_extras import is_installed
from sdeseg_jax.runs.workdir import Workdir, check_stage
from sdeseg_jax.training.checkpoints import CheckpointError
from sdeseg_jax.training.initialization import load_variables, network_shapes
from sdeseg_jax.training.state_comparison import checksums, compare_trees, shapes_of

STAGES = ("train", "baseline", "pretrain_depth")
"""Stages whose network can predict, the preferred one first."""

FACTS = "model.json"
"""File beside a training's checkpoints with its classes and image size, so that predicting needs no dataset."""

SIMILAR_ASPECT = 0.05
"""Images whose log aspect ratio differs by less from the training images' are resized to exactly their size."""


def write_model_facts(folder: pathlib.Path, classes: ClassMap | None, image_size: tuple[int, int]) -> None:
    """Writes `model.json` of a training: its classes, None for depth, and its images' (height, width)."""
    facts = {"classes": classes.to_json() if classes else None, "image_size": [int(side) for side in image_size]}
    write_json(folder / FACTS, facts)


def read_model_facts(folder: pathlib.Path) -> tuple[ClassMap | None, tuple[int, int]] | None:
    """Returns (classes, image size) from `model.json`; None if a training has no such file.

    Raises:
      UserError: the file is damaged.
    """
    path = folder / FACTS
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        classes = ClassMap.from_json(content["classes"]) if content["classes"] else None
        height, width = content["image_size"]
        return classes, (int(height), int(width))
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"{path} cannot be read ({error!r})"
        raise UserError(f"{what}. Remove it to use the dataset's classes and image size") from error


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """The trained networks of a run.

    Attributes:
      networks: "segmentation", "depth" or both; a multi-task network is under both names.
      variables: of each network.
      classes: of the segmentation, or None.
      image_size: (height, width) of the training images.
      metadata: see `describe`.
    """

    networks: Mapping[str, Network]
    variables: Mapping[str, Any]
    classes: ClassMap | None
    image_size: tuple[int, int]
    metadata: Mapping[str, Any]

    def predict(self, variables, images: jax.Array, inference: Inference) -> dict[str, jax.Array]:
        """Predicts images with all networks.

        Args:
          variables: `self.variables`.
          images: [B, H, W, 3] in [0, 1].
          inference: protocol of the segmentation. Depth always uses the whole image, since disparities of windows would
            not fit together.

        Returns:
          `probabilities` [B, H, W, classes] and `disparity` [B, H, W] in [0, 1], of the networks that exist.
        """
        out = {}
        if "segmentation" in self.networks:
            network, own = self.networks["segmentation"], variables["segmentation"]
            out["probabilities"] = class_probabilities(
                lambda inputs: network.apply(own, inputs, train=False).logits, images, inference
            )
        if "depth" in self.networks:
            size = images.shape[1:3]
            seen = inference.input_size or size
            inner = fit_size(size, self.image_size) if inference.window else fit_size(seen, seen)
            inputs = images
            if inner != size:
                inputs = jax.image.resize(images, (images.shape[0], *inner, 3), "bilinear", antialias=True)
            disparity = self.networks["depth"].apply(variables["depth"], inputs, train=False).disparities[0]
            out["disparity"] = jax.lax.squeeze(resize_bilinear_align_corners(disparity, size), [3])
        return out


def most_probable_labels(outputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Takes the most probable class of each pixel, from the outputs of `TrainedModel.predict`.

    Returns:
      `label` uint8 [B, H, W] and `confidence` float32 [B, H, W], its probability, if there are probabilities; and
      `disparity`, if there is one.
    """
    out = {}
    if "probabilities" in outputs:
        out["confidence"] = jnp.max(outputs["probabilities"], axis=-1)
        out["label"] = _first_class_with(outputs["probabilities"], out["confidence"])
    if "disparity" in outputs:
        out["disparity"] = outputs["disparity"]
    return out


def _first_class_with(probabilities: jax.Array, largest: jax.Array) -> jax.Array:
    """Returns `argmax(probabilities, axis=-1)` as uint8, in operations that TensorFlow Lite has for any batch size.

    Its converter refuses an argmax over arrays whose first side is not known.
    """
    last = probabilities.shape[-1] - 1
    classes = jnp.arange(last + 1, dtype=jnp.int32)
    # The last class stands for "not this one", too: it is the label where no other has the largest probability.
    return jnp.min(jnp.where(probabilities >= largest[..., None], classes, last), axis=-1).astype(jnp.uint8)


def sample_positions(source: int, target: int, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns where pixels of a resized side lie on the original one, with the corners aligned.

    Args:
      source, target: pixels of the original and of the resized side.
      length: of the result, `target` or more; values after `target` are padding.

    Returns:
      int32 [length] the pixel before, float32 [length] the weight of the one after it.
    """
    place = np.zeros(length or target, np.float64)
    place[:target] = np.linspace(0, source - 1, target)
    before = np.minimum(place.astype(np.int32), max(source - 2, 0))
    return before, (place - before).astype(np.float32)


def interpolate(values, rows, columns, axis: int = 1):
    """Interpolates bilinearly at the crossings of rows and columns.

    Args:
      values: [..., h, w, ...], NumPy or JAX.
      rows, columns: of `sample_positions`.
      axis: of h.

    Returns:
      [..., H, W, ...].
    """
    for place, (before, weight) in enumerate((rows, columns), axis):
        after = before + (1 if values.shape[place] > 1 else 0)
        weight = weight.reshape(-1, *[1] * (values.ndim - place - 1))
        values = values.take(before, place) * (1 - weight) + values.take(after, place) * weight
    return values


STRIP, BUCKET = 64, 256
"""Rows that are enlarged at once; multiple that sides are rounded up to, so that few sizes need a program each."""


def enlarge(outputs: Mapping[str, jax.Array], rows, columns) -> dict[str, jax.Array]:
    """Enlarges (or shrinks) predictions and decides labels, in strips: all classes of a phone's photo need gigabytes.

    Args:
      outputs: of `TrainedModel.predict`.
      rows, columns: of `sample_positions`, with a length that is a multiple of STRIP.

    Returns:
      As `most_probable_labels`, [B, length of rows, length of columns] each.
    """

    def strip(part):
        return most_probable_labels({name: interpolate(values, part, columns) for name, values in outputs.items()})

    parts = jax.lax.map(strip, jax.tree.map(lambda x: x.reshape(-1, STRIP), rows))
    return {name: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, x.shape[3]) for name, x in parts.items()}


def round_up_to_bucket(side: int) -> int:
    """Rounds a side up to a multiple of BUCKET."""
    return -(-side // BUCKET) * BUCKET


def fit_size(size: tuple[int, int], trained: tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) for the network: about as many pixels as the training images, in the image's own shape.

    Args:
      size: of the image.
      trained: of the training images; used itself for images of a similar shape (`SIMILAR_ASPECT`).

    Returns:
      Multiples of the network's stride.
    """
    aspects = [height / width for height, width in (size, trained)]
    scale = math.sqrt(math.prod(trained) / math.prod(size))
    wanted = trained if abs(math.log(aspects[0] / aspects[1])) < SIMILAR_ASPECT else [scale * side for side in size]
    return tuple(max(STRIDE, STRIDE * round(side / STRIDE)) for side in wanted)


def load(config, workdir: Workdir, float32: bool = False) -> TrainedModel:
    """Loads the network of the stage `config.predict.stage`, and the run's depth network.

    With `float32`, they compute in float32, whatever the config says.

    Raises:
      UserError, CheckpointError: the stage is not finished, or does not match the config; lists what differs.
    """
    stage = chosen_stage(config, workdir)
    own = stage_config(config, stage)
    if float32:
        own = own.copy_and_resolve_references()
        own.model.dtype = "float32"
    check_stage(config, workdir, stage)
    classes, image_size = _facts(own, workdir, stage)
    networks, variables = {}, {}

    def add(name: str, network: Network, stage: str, which: str = "student") -> None:
        folder = workdir.folder(stage) / "checkpoints"
        networks[name], variables[name] = network, load_variables(folder, which)
        _check_fit(network, variables[name], folder, image_size)

    which = "student"
    if stage != "pretrain_depth":
        # As in `evaluate`: supervised training has no teacher.
        which = config.evaluation.network if uses_pool(own.segmentation) else "student"
        add("segmentation", build_networks.segmentation_network(own, len(classes)), stage, which)
    if stage != "pretrain_depth" and own.segmentation.multitask:
        networks["depth"], variables["depth"] = networks["segmentation"], variables["segmentation"]
    elif workdir.finished("pretrain_depth"):
        check_stage(config, workdir, "pretrain_depth")
        add("depth", build_networks.depth_network(own), "pretrain_depth")
    metadata = describe(own, stage, which, classes, image_size, networks)
    metadata["weights"] = {name: _fingerprint(one) for name, one in variables.items()}
    return TrainedModel(networks, variables, classes, image_size, metadata)


def _fingerprint(variables) -> str:
    """Returns a hash that tells weights apart, e.g. from those of a longer training."""
    found = json.dumps(checksums(variables), sort_keys=True)
    return hashlib.sha256(found.encode()).hexdigest()[:16]


def chosen_stage(config, workdir: Workdir) -> str:
    """Returns the stage whose network is used.

    Raises:
      UserError: it is not finished.
    """
    stage = config.predict.stage
    if stage:
        workdir.require(stage, f"config.predict.stage = '{stage}'")
        return stage
    for stage in STAGES:
        if workdir.finished(stage):
            return stage
    raise UserError(f"{workdir.root} holds no finished training to predict with; run --job=train first")


def _facts(config, workdir: Workdir, stage: str) -> tuple[ClassMap | None, tuple[int, int]]:
    """Returns classes and image size: those that the training recorded, or else the dataset's."""
    facts = read_model_facts(workdir.folder(stage))
    segmentation = stage != "pretrain_depth"
    if facts is not None and not is_installed("tensorflow"):
        return facts
    from sdeseg_jax.runs import open_datasets  # imports TensorFlow, which prediction can do without

    if facts is None:
        return open_datasets.class_map(config) if segmentation else None, open_datasets.open_training(config).image_size
    if segmentation:
        try:
            current = open_datasets.class_map(config)
        except DatasetError:
            return facts  # the dataset is not on this machine, nor needed
        if current != facts[0]:
            raise UserError(
                f"{workdir.folder(stage)} was trained on other classes than config.data has now:\n"
                f"  there: {_list(facts[0])}\n  now: {_list(current)}\n"
                "Use the dataset that it was trained with (config.data.data_dir, variant, protocol)."
            )
    return facts


def _list(classes: ClassMap) -> str:
    return f"{classes.protocol}: {', '.join(classes.names)}"


def _check_fit(network: Network, variables, folder: pathlib.Path, image_size: tuple[int, int]) -> None:
    wanted, found = (
        {key: shape for key, shape in shapes_of(one).items() if ".pose." not in key}  # not used here
        for one in (network_shapes(network, fit_size(image_size, image_size)), variables)
    )
    if differences := compare_trees(found, wanted):
        raise CheckpointError(
            f"{folder} does not fit the config (its number of classes or another size of the network differs):\n  "
            + "\n  ".join(differences)
        )


def describe(config, stage: str, which: str, classes: ClassMap | None, image_size, networks) -> dict[str, Any]:
    """Returns the metadata to store with predictions and exported files."""
    facts = {
        "made_by": f"sdeseg_jax {sdeseg_jax.__version__}",
        "stage": stage,
        "network": which,
        "dataset": config.data.name,
        "trained_image_size": list(image_size),
        "classes": classes.to_json() if classes else None,
    }
    if "depth" in networks:
        facts["depth"] = describe_depth(config.depth)
    return facts


def describe_depth(depth) -> dict[str, Any]:
    """Returns metadata that explain the disparity of a network that was trained with `config.depth`."""
    low, high = depth.min_depth, depth.max_depth
    if depth.supervision == "depth":
        scale = "Learned from depth in metres, which it approximates."
    else:
        scale = (
            "Learned from video of one camera: known up to one unknown factor, the same for all images of a network as "
            "far as it learned to keep it. It is not in metres. To get metres, measure one known distance (or the "
            "camera's height above the road) and multiply all depths by true / predicted."
        )
    return {
        "disparity": "sigmoid output in [0, 1]; larger is nearer; in 16-bit files: value / 65535",
        "min_depth": low,
        "max_depth": high,
        "formula": f"depth = 1 / (1 / {high:g} + (1 / {low:g} - 1 / {high:g}) * disparity)",
        "unit": "metres" if depth.supervision == "depth" else "none: up to scale",
        "scale": scale,
    }
