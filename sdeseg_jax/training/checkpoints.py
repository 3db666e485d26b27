"""Checkpoints: the only module that imports Orbax."""

import hashlib
import json
import logging
import pathlib
import shutil
import zlib
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sdeseg_jax.files import disk_problem
from sdeseg_jax.training.replication import as_global, as_local, everywhere

log = logging.getLogger(__name__)

DAMAGED = ".damaged"
"""Ending of the name that a checkpoint gets which cannot even be opened."""


class CheckpointError(ValueError):
    """A checkpoint is missing, unreadable or of another architecture; the message says which and what to do."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint cannot be read, or holds other numbers than were saved."""


class Checkpoints:
    """Numbered checkpoints of one training in `folder/<step>`, the latest few of them.

    Saving is asynchronous and atomic: an interrupted save never passes for a checkpoint. What is read is compared with
    checksums of what was saved. Of several hosts all must make the same calls; they write together, into a folder that
    they share.
    """

    def __init__(self, folder: str | pathlib.Path, keep: int = 2):
        self.folder = pathlib.Path(folder).absolute()
        self._damaged: set[int] = set()
        self._set_aside_unreadable()
        self._manager = ocp.CheckpointManager(
            self.folder,
            item_handlers=ocp.StandardCheckpointHandler(),
            options=ocp.CheckpointManagerOptions(
                create=True,
                enable_async_checkpointing=True,
                preservation_policy=checkpoint_managers.LatestN(keep),
            ),
        )

    def _set_aside_unreadable(self) -> None:
        """Renames checkpoints whose metadata is damaged: Orbax would not open a folder that has one."""
        if not self.folder.is_dir():
            return
        for found in ocp.path.step.standard_name_format().find_all(self.folder):
            if self._is_half(found.step):
                continue
            try:
                json.loads((self.folder / str(found.step) / "_CHECKPOINT_METADATA").read_bytes())
                _ = found.commit_timestamp
            except Exception as error:  # of many kinds
                log.warning("%s", self._damage(found.step, f"cannot be read: {_first_line(error)}"))
                aside = found.path.with_name(f"{found.step}{DAMAGED}")
                if aside.exists():
                    aside.rmtree()
                found.path.rename(aside)

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, in order. Waits for one that is being saved."""
        self.wait()
        return sorted(step for step in self._manager.all_steps() if not self._is_half(step))

    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step, or None. Waits for one that is being saved."""
        return max(self.steps(), default=None)

    def _is_half(self, step: int) -> bool:
        """Whether a checkpoint was cut off, by a copy of the workdir, say: Orbax itself renames what is complete."""
        folder = self.folder / str(step)
        return folder.is_dir() and not (folder / "_CHECKPOINT_METADATA").exists()

    def fingerprint(self) -> str:
        """A text that differs between checkpoints, also of the same step of another training; "" without any."""
        step = self.latest_step()
        if step is None:
            return ""
        # It holds the times of saving.
        content = (self.folder / str(step) / "_CHECKPOINT_METADATA").read_bytes()
        return hashlib.sha256(content).hexdigest()

    def save(self, step: int, state: Any, **facts) -> None:
        """Starts saving `state` as `step`, unless that is there already.

        Args:
          facts: JSON-able, for `facts`.

        Raises:
          CheckpointError: the disk is full or cannot be written to; the message names what is kept. Of an earlier
            save, too.
        """
        for other in self._manager.all_steps():
            if other in self._damaged or self._is_half(other):
                self._manager.delete(other)
                self._damaged.discard(other)
        shutil.rmtree(self.folder / f"{step}{DAMAGED}", ignore_errors=True)
        if step in self._manager.all_steps():
            return
        with self._writing():
            metadata = {"checksums": checksums(state), "facts": facts}
            self._manager.save(step, args=ocp.args.StandardSave(as_global(state)), custom_metadata=metadata)

    @contextmanager
    def _writing(self):
        """Says what is wrong with the disk, where that is why writing fails."""
        try:
            yield
        except Exception as error:
            problem = disk_problem(error)
            if problem is None:
                raise
            kept = sorted(p.name for p in self.folder.glob("[0-9]*") if (p / "_CHECKPOINT_METADATA").exists())
            raise CheckpointError(
                f"no checkpoint can be written to {self.folder}: {problem}. "
                + (f"What is there is kept ({', '.join(kept)}). " if kept else "")
                + "Put that right and run the same command again: it goes on from the last checkpoint."
            ) from error

    def facts(self, step: int) -> dict:
        """What `save` was told beside the state; {} of checkpoints that are older than that."""
        return self._saved_with(step).get("facts", {})

    def _saved_with(self, step: int) -> dict:
        return self._manager.metadata(step).custom_metadata or {}

    def restore(self, template: Any, step: int | None = None) -> Any:
        """Restores a state.

        Args:
          template: state of the same structure and shapes; its values are not read.
          step: which; None for the latest that is not damaged. Damaged ones are reported, and replaced when they are
            saved again.

        Raises:
          CheckpointError: there is none, or it is of another architecture; the message names the first differences.
          DamagedCheckpointError: the one that is asked for, or all that there are, are damaged.
        """
        if step is not None:
            return self._restore(template, step)
        steps = self.steps()
        for candidate in reversed(steps):
            try:
                return self._restore(template, candidate)
            except DamagedCheckpointError as error:
                self._damaged.add(candidate)
                older = [one for one in steps if one < candidate]
                if not older:
                    raise
                log.warning("%s; goes on from checkpoint %d instead", error, older[-1])
        raise CheckpointError(f"no checkpoint in {self.folder}")

    def _restore(self, template: Any, step: int) -> Any:
        differences = compare_trees(self._stored_shapes(step), shapes_of(template))
        if differences:
            raise CheckpointError(
                f"checkpoint {self.folder}/{step} is of another architecture than the config describes:\n  "
                + "\n  ".join(differences)
                + "\nUse the config that it was trained with, or another workdir."
            )
        alone = jax.process_count() == 1
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0]) if alone else everywhere()
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=sharding), template)
        with self._reading(step):
            state = as_local(self._manager.restore(step, args=ocp.args.StandardRestore(abstract)))
        self._check(step, state)
        return state

    @contextmanager
    def _reading(self, step: int):
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise many kinds for damaged files
            raise self._damage(step, f"cannot be read: {_first_line(error)}") from error

    def _damage(self, step: int, what: str) -> DamagedCheckpointError:
        return DamagedCheckpointError(f"checkpoint {self.folder}/{step} {what}")

    def _check(self, step: int, state: Any) -> None:
        """Compares what was read, all fields or some of them, with the checksums of what was saved."""
        with self._reading(step):
            saved = self._saved_with(step).get("checksums")
        found = checksums(state)
        wrong = [name for name in found if saved is not None and saved.get(name) != found[name]]
        if wrong:
            raise self._damage(step, f"is damaged: {', '.join(wrong)} holds other numbers than were saved")

    def restore_variables(self, network: str = "student", step: int | None = None) -> dict:
        """Restores the network variables of a training as host arrays, without knowing its optimizer.

        Args:
          network: "student" or "teacher".
          step: which; None for the latest, which is what the training ended with, and has no substitute.

        Returns:
          {"params": ..., "batch_stats": ...}.

        Raises:
          CheckpointError: there is none, or the training had no teacher.
          DamagedCheckpointError: it is damaged; the message says how it is made again.
        """
        steps = self.steps()
        if step is None:
            aside = [int(path.name.removesuffix(DAMAGED)) for path in self.folder.glob(f"[0-9]*{DAMAGED}")]
            step = max([*steps, *aside], default=None)
        if step is None:
            raise CheckpointError(f"no checkpoint in {self.folder}")
        try:
            if step not in steps:
                raise self._damage(step, "is damaged or gone")
            return self._restore_variables(network, step)
        except DamagedCheckpointError as error:
            older = [one for one in steps if one < step]
            where = f"from checkpoint {older[-1]}" if older else "from the start, if you remove that folder"
            raise DamagedCheckpointError(
                f"{error}. The job that trained it (--job=...) makes it again, {where}."
            ) from error

    def _restore_variables(self, network: str, step: int) -> dict:
        params, batch_stats = {
            "student": ("params", "batch_stats"),
            "teacher": ("teacher_params", "teacher_batch_stats"),
        }[network]
        stored = self.stored(step)
        if not stored.get(params):
            raise CheckpointError(f"checkpoint {self.folder}/{step} has no {network}; set config.evaluation.network")
        # Leaves outside the wanted subtrees are placeholders: Orbax does not read them.
        item = {
            name: jax.tree.map(
                lambda leaf, wanted=(name in (params, batch_stats)): (
                    jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if wanted else ocp.PLACEHOLDER
                ),
                subtree,
            )
            for name, subtree in stored.items()
        }
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        with self._reading(step), ocp.PyTreeCheckpointer() as checkpointer:
            state = checkpointer.restore(
                self.folder / str(step) / "default", args=ocp.args.PyTreeRestore(item=item, restore_args=restore_args)
            )
        wanted = {name: state[name] for name in (params, batch_stats) if state.get(name)}
        self._check(step, wanted)
        return {"params": state[params], "batch_stats": state.get(batch_stats) or {}}

    def stored(self, step: int) -> dict:
        """What a checkpoint holds, as a tree of shapes and types. Raises DamagedCheckpointError."""
        with self._reading(step):
            return dict(self._manager.item_metadata(step).tree)

    def _stored_shapes(self, step: int) -> dict:
        return shapes_of(self.stored(step))

    def wait(self) -> None:
        """Returns when everything that was started is on disk. Raises CheckpointError as `save`."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Finishes saving and frees Orbax's threads. Raises CheckpointError as `save`."""
        with self._writing():
            self._manager.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        try:
            self.close()
        except CheckpointError:
            if kind is None:  # else the error that led here says more
                raise


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def checksums(state: Any) -> dict[str, int]:
    """CRC-32 of the names and values of each field of a state, or of each item of a dict; empty ones are left out.

    Disks and copies lose bits without a word; numbers that are wrong here and there would train on quietly.
    """
    found: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        names = [_key_name(key) for key in path]
        name = ".".join(names)
        value = np.ascontiguousarray(jax.device_get(leaf)).reshape(-1).view(np.uint8)
        field = names[0] if names else ""
        found[field] = zlib.crc32(value, zlib.crc32(name.encode(), found.get(field, 0)))
    return found


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
    """{'params.encoder...kernel': shape} of a tree, keys as in checkpoints."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {".".join(_key_name(key) for key in path): tuple(leaf.shape) for path, leaf in flat}


def _key_name(key) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def compare_trees(stored: dict, expected: dict, most: int = 5) -> list[str]:
    """Differences of two `shapes_of`, as lines for people, at most `most` of them."""
    lines = [f"{key}: in the checkpoint, not in the network" for key in stored if key not in expected]
    lines += [f"{key}: in the network, not in the checkpoint" for key in expected if key not in stored]
    lines += [
        f"{key}: {stored[key]} in the checkpoint, {expected[key]} in the network"
        for key in expected
        if key in stored and stored[key] != expected[key]
    ]
    lines.sort(key=lambda line: "batch_stats" in line)  # stable; statistics differ because weights do
    more = len(lines) - most
    return lines[:most] + ([f"... and {more} more"] if more > 0 else [])
