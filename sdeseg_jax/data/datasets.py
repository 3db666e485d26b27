"""Datasets by name: what `config.data.name` may be, and how a prepared one is opened."""

import dataclasses
import logging
import os
import pathlib
import re
import shlex
import shutil

import tensorflow_datasets as tfds

from sdeseg_jax.config import ConfigError
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data.builders.base_builder import FILE_FORMAT
from sdeseg_jax.data.builders.registry import BUILDERS, builder_class
from sdeseg_jax.data.classes import CITYSCAPES, PROTOCOLS, ClassMap
from sdeseg_jax.data.frame_dataset import FrameDataset, stored_classes
from sdeseg_jax.data.streets.builder import Streets, StreetsConfig
from sdeseg_jax.storage.disk_errors import disk_problem
from sdeseg_jax.storage.process_lock import only_process

log = logging.getLogger(__name__)

_VARIANT = re.compile(r"(?:(?P<name>.+)_)?(?P<size>\d+x\d+)(?:_stride(?P<stride>\d+))?")
"""Variants are called by the options of prepare_data.py that they were made with."""


def _variant(name: str, variant: str) -> re.Match | None:
    """The options that give a variant its name; None if there are none. Of known datasets there is only the size."""
    match = _VARIANT.fullmatch(variant)
    return match if match and (name == "folder" or match["size"] == variant) else None


class DatasetError(ConfigError):
    """A dataset is unknown, not prepared, or its options are wrong; the message says what to do."""


def default_data_dir() -> pathlib.Path:
    """Where prepared datasets lie if `config.data.data_dir` is empty."""
    return pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def _streets(data_dir: pathlib.Path, options: dict, section: str) -> Streets:
    """The builder, ready or not."""
    valid = {field.name for field in dataclasses.fields(StreetsConfig)}
    unknown = sorted(set(options) - valid)
    if unknown:
        raise DatasetError(f"{section}.options.{unknown[0]}", f"no such option of Streets; it has {sorted(valid)}")
    try:
        config = StreetsConfig(**options)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{section}.options", str(error)) from error
    return Streets(config=config, data_dir=str(data_dir), file_format=FILE_FORMAT)


def _generate_streets(data_dir: pathlib.Path, options: dict) -> tfds.core.DatasetBuilder:
    def make():
        return _streets(data_dir, options, "data")

    builder = make()
    if builder.is_prepared():
        return builder

    def waits():
        log.info("another process renders into %s; waiting for it", data_dir)

    try:
        with only_process(data_dir / f"{builder.name}.lock", waits=waits) as alone:
            builder = make()  # another process may have rendered it meanwhile
            if not builder.is_prepared():
                _render(builder, alone)
    except (OSError, RuntimeError) as error:
        problem = disk_problem(error) or (str(error) if isinstance(error, RuntimeError) else None)
        if problem is None:
            raise
        raise DatasetError(
            "data.data_dir", f"Streets cannot be rendered into {data_dir}: {problem}. The same command tries again."
        ) from error
    return builder


def _render(builder: Streets, alone: bool) -> None:
    """Renders in one go; what a process that was killed left of that is removed, if no other can be at it."""
    folder = pathlib.Path(builder.data_path)
    for leftover in folder.parent.glob(f"incomplete.*_{folder.name}") if alone else ():
        shutil.rmtree(leftover)
    builder.download_and_prepare(file_format=FILE_FORMAT)


def _open_prepared(name: str, data_dir: pathlib.Path, variant: str, section: str) -> tfds.core.DatasetBuilder:
    version, folder = str(builder_class(name).VERSION), data_dir / name
    variants = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    complete = [one for one in variants if (folder / one / version / "dataset_info.json").exists()]
    if variant and variants and variant not in variants:
        how = f"\nTo prepare it:\n  {_prepare_command(name, data_dir, variant)}" if _variant(name, variant) else ""
        raise DatasetError(f"{section}.variant", f"{folder} has no '{variant}'{nearest(variant, variants)}{how}")
    candidates = [one for one in complete if variant in ("", one)]
    if len(candidates) > 1:
        raise DatasetError(
            f"{section}.variant",
            f"{folder} has several variants: {', '.join(candidates)}; choose one: {{flag}}={candidates[0]}",
        )
    if not candidates:
        raise DatasetError(f"{section}.name", _not_prepared(name, folder, version, variant, variants))
    place = folder / candidates[0] / version
    try:
        return tfds.builder_from_directory(str(place))
    except Exception as error:  # TFDS raises many kinds for damaged files
        raise _damaged(place, error, section) from error


def _damaged(place: pathlib.Path, error: Exception, section: str = "data") -> DatasetError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DatasetError(f"{section}.name", f"{place} is damaged ({reason}); remove it and prepare the dataset again")


def _not_prepared(name: str, folder: pathlib.Path, version: str, variant: str, variants: list[str]) -> str:
    """What is there instead of a dataset, and the command that prepares it.

    Args:
      variant: that is asked for; empty for any.
      variants: that there are, none of them whole.
    """
    present = [p for one in variants if variant in ("", one) for p in sorted((folder / one).iterdir())]
    older = [p for p in present if (p / "dataset_info.json").exists()]
    begun = [p for p in present if p.name.endswith(".partial")]
    made = [*older, *begun, folder / variant / version][0].parent
    command = _prepare_command(name, folder.parent, made.name)
    if older:
        return (
            f"{made} was prepared by version {', '.join(p.name for p in older)} of its builder; this code reads "
            f"version {version}. Prepare it again (what is there stays untouched):\n  {command}"
        )
    if begun:
        return f"Preparing {folder} was interrupted; the same command goes on with it:\n  {command}"
    return f"Dataset '{name}' is not prepared in {folder.parent}. Do it once:\n  {command}"


def _prepare_command(name: str, data_dir: pathlib.Path, variant: str) -> str:
    """The command that prepares a variant, or that of the usual size where no call gives a variant this name."""
    match = _variant(name, variant)
    keys = ("size", "stride", "name") if match else ()
    options = "".join(f" --{key}={shlex.quote(match[key])}" for key in keys if match[key])
    output = shlex.quote(str(data_dir))
    return f"python scripts/prepare_data.py --dataset={name} --source=<folder as downloaded> --output={output}{options}"


def prepare(name: str, data_dir: str = "", options: dict | None = None, variant: str = "") -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset that is ready to read; a procedural one is generated on first use.

    Args:
      name: of the dataset.
      data_dir: where prepared datasets lie; empty for the default.
      options: of a procedural dataset's builder.
      variant: which of several prepared sizes; empty for the only one.

    Raises:
      DatasetError: the dataset is unknown, not prepared (with the command that does it), prepared by another version
        of its builder, or an option is unknown.
    """
    folder = _folder(data_dir)
    _check_name(name, variant, "data")
    if name == "streets":
        return _generate_streets(folder, dict(options or {}))
    return _open_prepared(name, folder, variant, "data")


def _folder(data_dir: str) -> pathlib.Path:
    folder = pathlib.Path(data_dir).expanduser() if data_dir else default_data_dir()
    if folder.exists() and not folder.is_dir():
        raise DatasetError("data.data_dir", f"{folder} is no folder")
    return folder


def _check_name(name: str, variant: str, section: str) -> None:
    if name == "streets" and variant:
        raise DatasetError(
            f"{section}.variant", f"Streets is generated, it has no variant '{variant}'; see config.{section}.options"
        )
    if name != "streets" and name not in BUILDERS:
        raise DatasetError(f"{section}.name", f"unknown dataset '{name}'{nearest(name, ['streets', *BUILDERS])}")


def is_ready(
    name: str, data_dir: str = "", options: dict | None = None, variant: str = "", section: str = "data"
) -> bool:
    """Whether a dataset can be opened at once; not so a procedural one that is still to be generated.

    Args:
      section: of the config that names it, for messages.
      name, data_dir, options, variant: as for `prepare`.

    Raises:
      DatasetError: as `prepare`.
    """
    _check_name(name, variant, section)
    if name == "streets":
        return _streets(_folder(data_dir), dict(options or {}), section).is_prepared()
    _open_prepared(name, _folder(data_dir), variant, section)
    return True


def class_map(name: str, data_dir: str = "", variant: str = "", protocol: str = "") -> ClassMap | None:
    """The classes of a dataset in a protocol (empty: its own); None if it has no labels.

    Raises:
      DatasetError: the dataset or protocol is unknown, the two do not go together, or a dataset that states its own
        classes (`folder`) is not prepared.
    """
    if name == "streets":
        stored = CITYSCAPES
    elif name not in BUILDERS:
        raise DatasetError("data.name", f"unknown dataset '{name}'{nearest(name, ['streets', *BUILDERS])}")
    elif name == "folder":
        stored = stored_classes(prepare(name, data_dir, variant=variant))
    else:
        stored = builder_class(name).CLASSES
    if protocol and protocol not in PROTOCOLS:
        raise DatasetError("data.protocol", f"unknown protocol '{protocol}'{nearest(protocol, PROTOCOLS)}")
    if not protocol or stored is None:
        return stored
    try:
        PROTOCOLS[protocol].train_ids(stored)
    except ValueError as error:
        raise DatasetError("data.protocol", f"{error}") from error
    return PROTOCOLS[protocol]


def open_labels(
    name: str, split: str, classes: ClassMap, data_dir: str = "", options: dict | None = None, variant: str = ""
) -> FrameDataset:
    """Opens a split with its labels read in the classes of another dataset; what is none of them becomes void.

    Args:
      classes: to read labels in, matched by name.
      name, split, data_dir, options, variant: as for `open_split`.

    Raises:
      DatasetError: as `open_split`; it has no labels, or lacks some of the classes.
    """
    builder = prepare(name, data_dir, options, variant)
    stored = stored_classes(builder)
    if stored is None:
        raise DatasetError("data.name", f"'{name}' has no labels")
    if not stored.includes(classes):
        lacking = [one for one in classes.names if one not in stored.names]
        shared = [one for one in PROTOCOLS.values() if stored.includes(one) and classes.includes(one)]
        advice = " or ".join(f"--config.data.protocol={one.protocol}" for one in shared)
        raise DatasetError(
            "data.name",
            f"'{name}' labels other classes ({stored.protocol}) than the target's "
            f"({classes.protocol}); it lacks {', '.join(lacking)}. "
            + (f"Train on classes that both have: {advice}" if shared else "No protocol has classes of both alone."),
        )
    return _open(builder, split, classes, "data.train_split")


def open_split(
    name: str, split: str, data_dir: str = "", options: dict | None = None, variant: str = "", protocol: str = "",
    key: str = "data.train_split",
) -> FrameDataset:  # fmt: skip
    """Opens one split of a dataset, generating it on first use where it is procedural.

    Args:
      split: a name, or a part of one: "train[:200]".
      protocol: class protocol that labels are read in, of `PROTOCOLS`; empty for the dataset's own.
      key: setting that names the split, for messages.
      name, data_dir, options, variant: as for `prepare`.

    Raises:
      DatasetError: as `prepare`; the split or protocol is unknown, or does not fit the dataset.
    """
    classes = class_map(name, data_dir, variant, protocol) if protocol else None
    return _open(prepare(name, data_dir, options, variant), split, classes, key)


def _open(builder: tfds.core.DatasetBuilder, split: str, classes: ClassMap | None, key: str) -> FrameDataset:
    try:
        return FrameDataset(builder, split, classes)
    except ValueError as error:
        raise DatasetError(key, f"{builder.name} in {builder.data_path}: {error}") from error
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:  # of metadata that is not as it was written
        raise _damaged(pathlib.Path(builder.data_path), error) from error
