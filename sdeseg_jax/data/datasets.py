"""Datasets by name: the values of `config.data.name`, and how to open a prepared one."""

import dataclasses
import functools
import logging
import os
import pathlib
import re
import shlex
import shutil

import tensorflow_datasets as tfds

from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.data.builders.base_builder import FILE_FORMAT
from sdeseg_jax.data.builders.registry import BUILDERS, builder_class
from sdeseg_jax.data.classes import CITYSCAPES, PROTOCOLS, ClassMap
from sdeseg_jax.data.dataset_error import DatasetError
from sdeseg_jax.data.frame_dataset import FrameDataset, stored_classes
from sdeseg_jax.data.streets.builder import Streets, StreetsConfig
from sdeseg_jax.storage.disk_errors import disk_problem
from sdeseg_jax.storage.process_lock import only_process

log = logging.getLogger(__name__)

_VARIANT = re.compile(r"(?:(?P<name>.+)_)?(?P<size>\d+x\d+)(?:_stride(?P<stride>\d+))?")
"""A variant is named after the options of prepare_data.py that made it."""


def _parse_variant(name: str, variant: str) -> re.Match | None:
    """Returns the options in a variant's name, or None if it has another form. Known datasets have only a size."""
    match = _VARIANT.fullmatch(variant)
    return match if match and (name == "folder" or match["size"] == variant) else None


def default_data_dir() -> pathlib.Path:
    """Folder of prepared datasets if `config.data.data_dir` is empty."""
    return pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def _streets(data_dir: pathlib.Path, options: dict, section: str) -> Streets:
    """Returns the builder, prepared or not."""
    valid = {field.name for field in dataclasses.fields(StreetsConfig)}
    for unknown in sorted(set(options) - valid):
        raise DatasetError(f"{section}.options.{unknown}", f"Streets has no such option{nearest(unknown, valid)}")
    try:
        config = StreetsConfig(**options)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{section}.options", str(error)) from error
    return Streets(config=config, data_dir=str(data_dir), file_format=FILE_FORMAT)


def _generate_streets(data_dir: pathlib.Path, options: dict) -> tfds.core.DatasetBuilder:
    builder = _streets(data_dir, options, "data")
    if builder.is_prepared():
        return builder
    waits = functools.partial(log.info, "waiting for another process that renders into %s", data_dir)
    try:
        with only_process(data_dir / f"{builder.name}.lock", waits=waits) as locked:
            builder = _streets(data_dir, options, "data")  # another process may have rendered it meanwhile
            if not builder.is_prepared():
                _render(builder, remove_leftovers=locked)
    except (OSError, RuntimeError) as error:
        problem = disk_problem(error) or (str(error) if isinstance(error, RuntimeError) else None)
        if problem is None:
            raise
        message = f"cannot render Streets into {data_dir}: {problem}. Run the same command again once this is solved."
        raise DatasetError("data.data_dir", message) from error
    return builder


def _render(builder: Streets, remove_leftovers: bool) -> None:
    """Renders all splits. Leftovers of a killed process may be removed only if no other process can be rendering."""
    folder = pathlib.Path(builder.data_path)
    for leftover in folder.parent.glob(f"incomplete.*_{folder.name}") if remove_leftovers else ():
        shutil.rmtree(leftover)
    builder.download_and_prepare(file_format=FILE_FORMAT)


def _open_prepared(name: str, data_dir: pathlib.Path, variant: str, section: str) -> tfds.core.DatasetBuilder:
    version, folder = str(builder_class(name).VERSION), data_dir / name
    variants = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if variant and variants and variant not in variants:
        how = f"\nPrepare it:\n  {_prepare_command(name, data_dir, variant)}" if _parse_variant(name, variant) else ""
        raise DatasetError(f"{section}.variant", f"{folder} has no '{variant}'{nearest(variant, variants)}{how}")
    candidates = [one for one in variants if (folder / one / version / "dataset_info.json").exists()]
    candidates = [one for one in candidates if variant in ("", one)]
    if len(candidates) > 1:
        choice = f"{', '.join(candidates)}; choose one: {{flag}}={candidates[0]}"
        raise DatasetError(f"{section}.variant", f"{folder} has several variants: {choice}")
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
    """Says what is there instead of a complete dataset, and how to prepare it.

    Args:
      variant: requested; empty for any.
      variants: present, none of them complete.
    """
    present = [p for one in variants if variant in ("", one) for p in sorted((folder / one).iterdir())]
    older = [p for p in present if (p / "dataset_info.json").exists()]
    begun = [p for p in present if p.name.endswith(".partial")]
    made = [*older, *begun, folder / variant / version][0].parent
    command = _prepare_command(name, folder.parent, made.name)
    if older:
        found = f"{made} was prepared by version {', '.join(p.name for p in older)} of its builder"
        advice = "Prepare it again (the old files stay untouched)"
        return f"{found}; this code reads version {version}. {advice}:\n  {command}"
    if begun:
        return f"Preparing {folder} was interrupted; the same command resumes:\n  {command}"
    return f"Dataset '{name}' is not prepared in {folder.parent}. Prepare it once:\n  {command}"


def _prepare_command(name: str, data_dir: pathlib.Path, variant: str) -> str:
    """Returns the command that prepares a variant, or the default one if no options make a variant of this name."""
    match = _parse_variant(name, variant)
    keys = ("size", "stride", "name") if match else ()
    options = "".join(f" --{key}={shlex.quote(match[key])}" for key in keys if match[key])
    output = shlex.quote(str(data_dir))
    return f"sdeseg prepare --dataset={name} --source=<folder as downloaded> --output={output}{options}"


def prepare(name: str, data_dir: str = "", options: dict | None = None, variant: str = "") -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset that is ready to read; generates a procedural one on first use.

    Args:
      name: of the dataset.
      data_dir: folder of prepared datasets; empty for the default.
      options: of a procedural dataset's builder.
      variant: which of several prepared sizes; empty for the only one.

    Raises:
      DatasetError: the dataset is unknown, not prepared (the message has the command that prepares it), prepared by
        another version of its builder, or an option is unknown.
    """
    folder = _folder(data_dir)
    _check_name(name, variant, "data")
    if name == "streets":
        return _generate_streets(folder, dict(options or {}))
    return _open_prepared(name, folder, variant, "data")


def _folder(data_dir: str) -> pathlib.Path:
    folder = pathlib.Path(data_dir).expanduser() if data_dir else default_data_dir()
    if folder.exists() and not folder.is_dir():
        raise DatasetError("data.data_dir", f"{folder} is not a folder")
    return folder


def _check_name(name: str, variant: str, section: str) -> None:
    if name == "streets" and variant:
        problem = f"Streets is generated and has no variant '{variant}'; set config.{section}.options instead"
        raise DatasetError(f"{section}.variant", problem)
    if name != "streets" and name not in BUILDERS:
        raise DatasetError(f"{section}.name", f"unknown dataset '{name}'{nearest(name, ['streets', *BUILDERS])}")


def is_ready(
    name: str, data_dir: str = "", options: dict | None = None, variant: str = "", section: str = "data"
) -> bool:
    """Returns False for a procedural dataset that is not generated yet, True for others that can be opened.

    Args:
      section: config section that names it, for messages.
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
    """Returns the classes of a dataset in a protocol (empty: its own), or None if it has no labels.

    Raises:
      DatasetError: the dataset or protocol is unknown, the dataset lacks a class of the protocol, or a dataset that
        states its own classes (`folder`) is not prepared.
    """
    _check_name(name, "", "data")
    if name == "streets":
        stored = CITYSCAPES
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
        raise DatasetError("data.protocol", str(error)) from error
    return PROTOCOLS[protocol]


def open_labels(
    name: str, split: str, classes: ClassMap, data_dir: str = "", options: dict | None = None, variant: str = ""
) -> FrameDataset:
    """Opens a split with its labels in the classes of another dataset; its other classes become void.

    Args:
      classes: of the labels, matched by name.
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
        flags = " or ".join(f"--config.data.protocol={one.protocol}" for one in shared)
        advice = f"Train on classes that both have: {flags}" if shared else "No protocol has only classes of both."
        classes = f"classes ({stored.protocol}) than the target's ({classes.protocol})"
        raise DatasetError("data.name", f"'{name}' labels other {classes}; it lacks {', '.join(lacking)}. {advice}")
    return _open(builder, split, classes, "data.train_split")


def open_split(
    name: str,
    split: str,
    data_dir: str = "",
    options: dict | None = None,
    variant: str = "",
    protocol: str = "",
    key: str = "data.train_split",
) -> FrameDataset:
    """Opens one split of a dataset; generates a procedural one on first use.

    Args:
      split: a name, or a part of one: "train[:200]".
      protocol: name in `PROTOCOLS` of the classes that labels are converted to; empty for the dataset's own.
      key: setting that names the split, for messages.
      name, data_dir, options, variant: as for `prepare`.

    Raises:
      DatasetError: as `prepare` and `class_map`; the split is unknown or has no frames.
    """
    classes = class_map(name, data_dir, variant, protocol) if protocol else None
    return _open(prepare(name, data_dir, options, variant), split, classes, key)


def _open(builder: tfds.core.DatasetBuilder, split: str, classes: ClassMap | None, key: str) -> FrameDataset:
    try:
        return FrameDataset(builder, split, classes)
    except ValueError as error:
        raise DatasetError(key, f"{builder.name} in {builder.data_path}: {error}") from error
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:  # the metadata is damaged
        raise _damaged(pathlib.Path(builder.data_path), error) from error
