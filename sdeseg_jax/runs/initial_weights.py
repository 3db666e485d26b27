"""First weights of a run's networks: published ones by name, a publisher's file, or a checkpoint of this program."""

import logging
import pathlib
from typing import Any

from sdeseg_jax.config import ConfigError, UserError
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.interop.weights.named_weights import locate
from sdeseg_jax.interop.weights.published_weights import read_published
from sdeseg_jax.models.encoders import ENCODERS
from sdeseg_jax.models.encoders.weight_sources import PRETRAINED, WEIGHT_SOURCES, is_weight_name
from sdeseg_jax.training.initialization import Reader, check_init, initialize_from, load_variables

log = logging.getLogger(__name__)

KEY = "initial_weights"
"""Key of a stage's records for where its first weights came from."""


def initialize(
    variables: dict[str, Any], model, init, section: str = "init", records: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Returns variables with the parts that a section like `config.init` names.

    Args:
      variables: of the network, initialised.
      model: section with the network's settings, e.g. `config.model`.
      init: the section: part -> source. A source is a name of published weights, a publisher's file, or a folder with a
        checkpoint.
      section: its key, for errors.
      records: of the stage; gets, as `KEY`, part -> where its weights came from.

    Raises:
      ConfigError: weights are missing, damaged, or of another encoder.
      CheckpointError: a checkpoint does not fit the network.
    """
    found = {}
    variables = initialize_from(variables, init, section, make_reader(model, section, found))
    for part, record in found.items():
        for note in record.get("notes", ()):
            log.warning("%s.%s: %s", section, part, note)
    if records is not None and found:
        records[KEY] = found
    return variables


def check(network, image_size: tuple[int, int], model, init, section: str = "init") -> None:
    """Raises what `initialize` would, without computing the network's weights; weights by name are downloaded."""
    check_init(network, image_size, init, section, make_reader(model, section, {}))


def make_reader(model, section: str, records: dict[str, Any]) -> Reader:
    """Returns a function of part and source that reads weights, and adds to `records` where they came from."""

    def read(part: str, source: str) -> dict[str, Any]:
        path, record = pathlib.Path(source).expanduser(), {"path": source}
        backbone = getattr(model, "pose_backbone" if part == "pose" else "backbone", "")
        try:
            if is_weight_name(source):
                if part in ("encoder", "pose") and source in WEIGHT_SOURCES:  # told before they are downloaded
                    _check_backbone(WEIGHT_SOURCES[source].backbone, backbone, source, section, part)
                located = locate(source, backbone)
                path, record = located.path, located.record
            elif not path.exists():
                what = f"no checkpoint folder or file at {source}"
                if not path.is_absolute():
                    what += f", nor published weights of that name{nearest(source, (PRETRAINED, *WEIGHT_SOURCES))}"
                raise UserError(what)
            elif path.is_dir() and not _is_published(path):
                records[part] = record
                return load_variables(path)
            weights = read_published(path)
            if part in ("encoder", "pose") and "pose_backbone" not in weights.model:  # an encoder alone
                _check_backbone(weights.model["backbone"], backbone, source, section, part)
        except (UserError, ValueError) as error:
            raise ConfigError(f"{section}.{part}", str(error)) from error
        records[part] = record | ({"notes": list(weights.notes)} if weights.notes else {})
        return weights.variables

    return read


def _check_backbone(found: str, wanted: str, source: str, section: str, part: str) -> None:
    if found != wanted:
        model = "selection.student" if section.startswith("selection.") else "model"
        key = "pose_backbone" if part == "pose" else "backbone"
        if part == "pose" and found in ENCODERS and not ENCODERS[found].takes_pairs:
            raise UserError(f"{source!r} has weights of {found}, which takes no pairs of frames. Use other weights")
        raise UserError(
            f"{source!r} has weights of {found}, but the network's encoder is {wanted}. Use "
            f"--config.{model}.{key}={found}, or other weights"
        )


def _is_published(folder: pathlib.Path) -> bool:
    """Whether a folder has a publisher's files rather than checkpoints of this program."""
    names = ("encoder.pth", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    return any((folder / name).is_file() for name in names)
