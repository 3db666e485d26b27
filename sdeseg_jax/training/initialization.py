"""Initial weights of a network: random, from a checkpoint per part, or from the depth network (Sec. 3.3)."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from sdeseg_jax.config import ConfigError
from sdeseg_jax.models.encoders import encoder_name
from sdeseg_jax.models.transfer import transfer_depth_decoder
from sdeseg_jax.training.checkpoints import CheckpointError, Checkpoints
from sdeseg_jax.training.state_comparison import compare_trees, shapes_of

Reader = Callable[[str, str], dict[str, Any]]
"""(part of the network, source of weights) -> variables that have the part."""


_OWN = {"pose": "decoder", "encoder": "reassembly"}
"""Part -> what it has beside a published encoder."""


def random_variables(network, seed: int, image_size: tuple[int, int]) -> dict[str, Any]:
    """Returns random {"params": ..., "batch_stats": ...} for every part of a network, a function of the seed."""
    images = jnp.zeros((1, *image_size, 3))
    # With rbg this compiles several times faster than with threefry, which adds a small program for every tensor.
    initialize = jax.jit(lambda key: network.init({"params": key, "dropout": key}, images, method="init_all"))
    return dict(initialize(jax.random.key(seed, impl="rbg")))


def check_part(
    variables: Mapping[str, Any], source: Mapping[str, Any], part: str, origin: str
) -> dict[str, dict[str, Any]]:
    """Finds a top-level part of the network ("encoder", "depth_decoder", "pose", ...) in other variables.

    Args:
      variables: of the network, or their shapes.
      source: variables to take the part from. What published weights of an encoder do not have may be missing: the
        decoder of "pose", the reassembly of a Vision Transformer's features.
      part: name of the part.
      origin: of the source, for messages.

    Returns:
      collection -> the source's variables of the part.

    Raises:
      CheckpointError: the source lacks the part or has other shapes; the message names the differences.
    """
    if part not in source["params"]:
        raise CheckpointError(f"{origin} has no '{part}'; it has {', '.join(sorted(source['params']))}")
    found = {key: dict(source[key].get(part, {})) for key in ("params", "batch_stats")}
    wanted = {key: dict(variables[key].get(part, {})) for key in found}
    own = _OWN.get(part)
    if own not in found["params"]:
        wanted = {key: {name: tree for name, tree in one.items() if name != own} for key, one in wanted.items()}
    differences = compare_trees(shapes_of(found), shapes_of(wanted))
    if differences:
        names = [_backbone(tree["params"]) for tree in (found, wanted)]
        hint = f" ({names[0]} in the checkpoint, {names[1]} in the config)" if names[0] != names[1] else ""
        raise CheckpointError(f"'{part}' of {origin} does not fit the config{hint}:\n  " + "\n  ".join(differences))
    return found


def _backbone(part: Mapping[str, Any]) -> str | None:
    return encoder_name(part.get("encoder", part))


def replace_part(variables: Mapping[str, Any], source: Mapping[str, Any], part: str, origin: str) -> dict[str, Any]:
    """Returns the variables with one part from `source`; arguments and errors as `check_part`."""
    out = dict(variables)
    for collection, new in check_part(variables, source, part, origin).items():
        if new:
            new = {**out[collection][part], **jax.tree.map(jnp.asarray, new)}
            out[collection] = {**out[collection], part: new}
    return out


def load_variables(folder: str | pathlib.Path, network: str = "student") -> dict[str, Any]:
    """Reads the latest variables from a training's folder or its `checkpoints/`. Raises as `restore_variables`."""
    folder = pathlib.Path(folder)
    inner = folder / "checkpoints"
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint folder at {folder}")
    with Checkpoints(inner if inner.is_dir() else folder) as checkpoints:
        return checkpoints.restore_variables(network)


def initialize_from(
    variables: dict[str, Any], init_config, section: str = "init", read: Reader | None = None
) -> dict[str, Any]:
    """Replaces parts as a section like `config.init` says; parts without a source keep their random weights.

    Args:
      variables: of the network, initialised.
      init_config: the section: part -> source of weights.
      section: its key, for errors.
      read: function of part and source that returns variables with that part; None reads checkpoint folders.

    Raises:
      ConfigError: weights are missing or damaged.
      CheckpointError: they do not fit the network.
    """
    for part, source in _parts(variables, init_config):
        variables = replace_part(variables, _read(read, section, part, source), part, str(source))
    return variables


def network_shapes(network, image_size: tuple[int, int]) -> dict[str, Any]:
    """Returns the shapes of a network's variables without computing them."""
    images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    return jax.eval_shape(lambda key, images: network.init(key, images, method="init_all"), jax.random.key(0), images)


def check_init(
    network, image_size: tuple[int, int], init_config, section: str = "init", read: Reader | None = None
) -> None:
    """Raises what `initialize_from` would, without computing the network's weights."""
    shapes = network_shapes(network, image_size)
    for part, source in _parts(shapes, init_config):
        check_part(shapes, _read(read, section, part, source), part, str(source))


def _parts(variables: Mapping[str, Any], init_config) -> list[tuple[str, str]]:
    return [(part, source) for part, source in init_config.items() if source and part in variables["params"]]


def _read(read: Reader | None, section: str, part: str, source: str) -> dict[str, Any]:
    try:
        return read(part, source) if read else load_variables(source)
    except CheckpointError as error:
        raise ConfigError(f"{section}.{part}", str(error)) from error


def initialize_from_depth(
    variables: dict[str, Any], depth_variables: Mapping[str, Any], encoder: bool, decoder: bool, origin: str
) -> dict[str, Any]:
    """Transfers SDE weights to segmentation (Sec. 3.3).

    Args:
      variables: of the segmentation or multi-task network, initialised.
      depth_variables: of the trained depth network.
      encoder: whether to take the encoder.
      decoder: whether to start the segmentation decoder from the depth decoder, and take over the depth and pose
        branches that the network has.
      origin: of the depth variables, for messages.
    """
    if encoder:
        variables = replace_part(variables, depth_variables, "encoder", origin)
    if decoder:
        donor = {
            collection: {**variables[collection], "depth_decoder": depth_variables[collection]["depth_decoder"]}
            for collection in ("params", "batch_stats")
        }
        donor = jax.tree.map(jnp.array, transfer_depth_decoder(donor))
        for part, source in (("segmentation_decoder", donor), ("depth_decoder", donor), ("pose", depth_variables)):
            if part in variables["params"]:
                variables = replace_part(variables, source, part, origin)
    return variables
