"""Where a network's first weights come from: random, a checkpoint per part, the depth network (Sec. 3.3)."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from sdeseg_jax.models.transfer import transfer_depth_decoder
from sdeseg_jax.training.checkpoints import CheckpointError, Checkpoints, compare_trees, shapes_of


def random_variables(network, seed: int, image_size: tuple[int, int]) -> dict[str, Any]:
    """Initialises every part of a network, as one compiled program.

    Returns:
      {"params": ..., "batch_stats": ...}, a function of the seed.
    """
    images = jnp.zeros((1, *image_size, 3))
    # The rbg generator compiles several times faster than threefry here: one small program instead of one a tensor.
    initialize = jax.jit(lambda key: network.init({"params": key, "dropout": key}, images, method="init_all"))
    return dict(initialize(jax.random.key(seed, impl="rbg")))


def replace_part(variables: Mapping[str, Any], source: Mapping[str, Any], part: str, origin: str) -> dict[str, Any]:
    """Takes one top-level part of the network ("encoder", "depth_decoder", "pose", ...) from other variables.

    Raises:
      CheckpointError: the source lacks the part or it has other shapes; the message names the differences.
    """
    if part not in source["params"]:
        raise CheckpointError(f"{origin} has no '{part}'; it has {sorted(source['params'])}")
    out = dict(variables)
    for collection in ("params", "batch_stats"):
        old, new = variables[collection].get(part, {}), source[collection].get(part, {})
        differences = compare_trees(shapes_of(new), shapes_of(old))
        if differences:
            raise CheckpointError(f"'{part}' of {origin} does not fit the config:\n  " + "\n  ".join(differences))
        if new:
            out[collection] = {**out[collection], part: jax.tree.map(jnp.asarray, new)}
    return out


def load_variables(folder: str | pathlib.Path, network: str = "student") -> dict[str, Any]:
    """Reads the newest variables of a training's checkpoint folder.

    Raises:
      CheckpointError: there is none.
    """
    if not pathlib.Path(folder).is_dir():
        raise CheckpointError(f"no checkpoint folder at {folder}")
    with Checkpoints(folder) as checkpoints:
        return checkpoints.restore_variables(network)


def initialize_from(variables: dict[str, Any], init_config) -> dict[str, Any]:
    """Applies `config.init`: part -> checkpoint folder, parts without one keep their random weights."""
    for part, folder in init_config.items():
        if folder and part in variables["params"]:
            variables = replace_part(variables, load_variables(folder), part, str(folder))
    return variables


def initialize_from_depth(
    variables: dict[str, Any], depth_variables: Mapping[str, Any], encoder: bool, decoder: bool, origin: str
) -> dict[str, Any]:
    """SDE -> segmentation transfer (Sec. 3.3).

    Args:
      variables: of the segmentation or multi-task network, initialised.
      depth_variables: of the trained depth network.
      encoder: take the encoder.
      decoder: start the segmentation decoder from the depth decoder; where the network has depth and pose branches,
        those come from the depth network, too.
      origin: of the depth variables, for messages.
    """
    if encoder:
        variables = replace_part(variables, depth_variables, "encoder", origin)
    if decoder:
        has_depth = "depth_decoder" in variables["params"]
        donor = {
            collection: {**variables[collection], "depth_decoder": depth_variables[collection]["depth_decoder"]}
            for collection in ("params", "batch_stats")
        }
        donor = jax.tree.map(jnp.array, transfer_depth_decoder(donor))
        for part in ("segmentation_decoder", "depth_decoder") if has_depth else ("segmentation_decoder",):
            variables = replace_part(variables, donor, part, origin)
        if "pose" in variables["params"]:
            variables = replace_part(variables, depth_variables, "pose", origin)
    return variables
