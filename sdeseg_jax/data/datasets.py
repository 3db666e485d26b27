"""Datasets by name: what `config.data.name` may be, and how a prepared one is opened."""

import contextlib
import dataclasses
import errno
import fcntl
import logging
import os
import pathlib
import shlex

import tensorflow_datasets as tfds

from sdeseg_jax.config import ConfigError
from sdeseg_jax.data.builders.base import FILE_FORMAT
from sdeseg_jax.data.builders.registry import BUILDERS, builder_class
from sdeseg_jax.data.classes import CITYSCAPES, PROTOCOLS, ClassMap
from sdeseg_jax.data.frames import FrameDataset, stored_classes
from sdeseg_jax.data.streets.builder import Streets, StreetsConfig
from sdeseg_jax.names import nearest


class DatasetError(ConfigError):
    """A dataset is unknown, not prepared, or its options are wrong; the message says what to do."""


def default_data_dir() -> pathlib.Path:
    """Where prepared datasets lie if `config.data.data_dir` is empty."""
    return pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def _generate_streets(data_dir: pathlib.Path, options: dict) -> tfds.core.DatasetBuilder:
    valid = {field.name for field in dataclasses.fields(StreetsConfig)}
    unknown = sorted(set(options) - valid)
    if unknown:
        raise DatasetError(f"config.data.options.{unknown[0]}: no such option of Streets; it has {sorted(valid)}")
    try:
        config = StreetsConfig(**options)
    except ValueError as error:
        raise DatasetError(f"config.data.options: {error}") from error

    def make():
        return Streets(config=config, data_dir=str(data_dir), file_format=FILE_FORMAT)

    builder = make()
    if builder.is_prepared():
        return builder
    with _only_one(data_dir / f"{builder.name}.lock"):
        builder = make()  # another process may have rendered it meanwhile
        if not builder.is_prepared():
            builder.download_and_prepare(file_format=FILE_FORMAT)
    return builder


@contextlib.contextmanager
def _only_one(path: pathlib.Path):
    """Runs the body in one process at a time: several runs, or hosts of one, that want the same data wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                logging.getLogger(__name__).info("another process renders into %s; waiting for it", path.parent)
                fcntl.flock(file, fcntl.LOCK_EX)
            # Else a file system without locks: then nobody waits.
        yield


def _open_prepared(name: str, data_dir: pathlib.Path, variant: str) -> tfds.core.DatasetBuilder:
    version, folder = str(builder_class(name).VERSION), data_dir / name
    variants = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    complete = [one for one in variants if (folder / one / version / "dataset_info.json").exists()]
    if variant and variant not in variants:
        raise DatasetError(f"config.data.variant: {folder} has no '{variant}'{nearest(variant, variants)}")
    candidates = [one for one in complete if variant in ("", one)]
    if len(candidates) > 1:
        raise DatasetError(
            f"{folder} has several variants: {', '.join(candidates)}; choose one: --config.data.variant={candidates[0]}"
        )
    if not candidates:
        raise DatasetError(_not_prepared(name, folder, version, [variant] if variant else variants))
    return tfds.builder_from_directory(str(folder / candidates[0] / version))


def _not_prepared(name: str, folder: pathlib.Path, version: str, variants: list[str]) -> str:
    command = (
        f"python scripts/prepare_data.py --dataset={name} --source=<folder as downloaded> "
        f"--output={shlex.quote(str(folder.parent))}"
    )
    present = [p for one in variants for p in sorted((folder / one).iterdir())]
    older = [p.name for p in present if (p / "dataset_info.json").exists()]
    if older:
        return (
            f"{present[0].parent} was prepared by version {', '.join(older)} of its builder; this code reads version "
            f"{version}. Prepare it again (what is there stays untouched):\n  {command}"
        )
    if any(p.name.endswith(".partial") for p in present):
        return f"Preparing {folder} was interrupted; the same command goes on with it:\n  {command}"
    return f"Dataset '{name}' is not prepared in {folder.parent}. Do it once:\n  {command}"


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
    folder = pathlib.Path(data_dir).expanduser() if data_dir else default_data_dir()
    if name == "streets":
        if variant:
            raise DatasetError(f"config: Streets is generated, it has no variant '{variant}'; see config.data.options")
        return _generate_streets(folder, dict(options or {}))
    if name not in BUILDERS:
        raise DatasetError(f"config.data.name: unknown dataset '{name}'{nearest(name, ['streets', *BUILDERS])}")
    return _open_prepared(name, folder, variant)


def class_map(name: str, data_dir: str = "", variant: str = "", protocol: str = "") -> ClassMap | None:
    """The classes of a dataset in a protocol (empty: its own); None if it has no labels.

    Raises:
      DatasetError: the dataset or protocol is unknown, the two do not go together, or a dataset that states its own
        classes (`folder`) is not prepared.
    """
    if name == "streets":
        stored = CITYSCAPES
    elif name not in BUILDERS:
        raise DatasetError(f"config.data.name: unknown dataset '{name}'{nearest(name, ['streets', *BUILDERS])}")
    elif name == "folder":
        stored = stored_classes(prepare(name, data_dir, variant=variant))
    else:
        stored = builder_class(name).CLASSES
    if protocol and protocol not in PROTOCOLS:
        raise DatasetError(f"config.data.protocol: unknown protocol '{protocol}'{nearest(protocol, PROTOCOLS)}")
    if not protocol or stored is None:
        return stored
    try:
        PROTOCOLS[protocol].train_ids(stored)
    except ValueError as error:
        raise DatasetError(f"config.data.protocol: {error}") from error
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
        raise DatasetError(f"config.data.name: '{name}' has no labels")
    if not stored.includes(classes):
        lacking = [one for one in classes.names if one not in stored.names]
        shared = [one for one in PROTOCOLS.values() if stored.includes(one) and classes.includes(one)]
        advice = " or ".join(f"--config.data.protocol={one.protocol}" for one in shared)
        raise DatasetError(
            f"config.data.name: '{name}' labels other classes ({stored.protocol}) than the target's "
            f"({classes.protocol}); it lacks {', '.join(lacking)}. "
            + (f"Train on classes that both have: {advice}" if shared else "No protocol has classes of both alone.")
        )
    try:
        return FrameDataset(builder, split, classes)
    except ValueError as error:
        raise DatasetError(f"{name} in {builder.data_path}: {error}") from error


def open_split(
    name: str, split: str, data_dir: str = "", options: dict | None = None, variant: str = "", protocol: str = ""
) -> FrameDataset:
    """Opens one split of a dataset, generating it on first use where it is procedural.

    Args:
      split: a name, or a part of one: "train[:200]".
      protocol: class protocol that labels are read in, of `PROTOCOLS`; empty for the dataset's own.
      name, data_dir, options, variant: as for `prepare`.

    Raises:
      DatasetError: as `prepare`; the split or protocol is unknown, or does not fit the dataset.
    """
    classes = class_map(name, data_dir, variant, protocol) if protocol else None
    builder = prepare(name, data_dir, options, variant)
    try:
        return FrameDataset(builder, split, classes)
    except ValueError as error:
        raise DatasetError(f"{name} in {builder.data_path}: {error}") from error
