"""Checkpoints: the only module that imports Orbax."""

import hashlib
import json
import logging
import os
import pathlib
import shutil
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sdeseg_jax.storage.disk_errors import disk_problem, temporary_problem
from sdeseg_jax.training.multi_host import is_first, total, wait_for_all
from sdeseg_jax.training.out_of_memory import is_out_of_memory
from sdeseg_jax.training.replication import as_local, replicated_on_all_hosts, to_save
from sdeseg_jax.training.state_comparison import checksums, compare_trees, shapes_of

log = logging.getLogger(__name__)

DAMAGED = ".damaged"
"""Suffix of a damaged checkpoint's folder, until its step is saved again."""

_METADATA = "_CHECKPOINT_METADATA"


class CheckpointError(ValueError):
    """A checkpoint is missing, unreadable or does not fit the network; the message says which and what to do."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint cannot be read, or its contents do not match their checksums."""


class Checkpoints:
    """The latest checkpoints of one training, in `folder/<step>`.

    Saving is asynchronous and atomic: an interrupted save never counts as a checkpoint. Reading verifies checksums.
    With several hosts, all must make the same calls; they write together into a shared folder.
    """

    def __init__(self, folder: str | pathlib.Path, keep: int = 2, owner: bool = False):
        """Opens a folder, or creates it.

        Args:
          keep: number of checkpoints to keep.
          owner: whether this is the training that writes here: it renames damaged checkpoints.

        Raises:
          DamagedCheckpointError: the metadata of a checkpoint is damaged; not for the owner.
        """
        self.folder, self._owner = pathlib.Path(folder).absolute(), owner
        if owner:
            if is_first():
                for step in self._found():
                    if problem := self._unreadable(step):
                        self._rename(step, problem)
            wait_for_all("checkpoints")
        options = ocp.CheckpointManagerOptions(
            create=True, enable_async_checkpointing=True, preservation_policy=checkpoint_managers.LatestN(keep)
        )
        try:
            self._manager = ocp.CheckpointManager(
                self.folder, item_handlers=ocp.StandardCheckpointHandler(), options=options
            )
        except Exception:
            for step in self._found():
                if problem := self._unreadable(step):
                    raise self._damage(step, f"{problem}. {self._advice(step)}") from None
            raise

    def _found(self) -> list[int]:
        """Steps of all folders that are named like checkpoints."""
        return sorted(int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit() and path.is_dir())

    def _unreadable(self, step: int) -> str | None:
        """What is wrong with a checkpoint's metadata, or None; if it is damaged, Orbax does not open the folder."""
        path = self.folder / str(step) / _METADATA
        if not path.exists():  # e.g. an interrupted copy of the workdir: Orbax itself renames complete ones
            return "is incomplete"
        try:
            json.loads(path.read_bytes())
            _ = ocp.path.step.standard_name_format().find_step(self.folder, step).commit_timestamp
        except OSError:
            raise
        except Exception as error:  # Orbax raises many kinds
            return f"cannot be read: {_first_line(error)}"
        return None

    def _rename(self, step: int, problem: str) -> None:
        """Renames a damaged checkpoint: one failed read is no reason to delete it."""
        log.warning("%s; it is renamed to %s%s", self._damage(step, problem), step, DAMAGED)
        renamed = self.folder / f"{step}{DAMAGED}"
        shutil.rmtree(renamed, ignore_errors=True)
        os.replace(self.folder / str(step), renamed)

    def _renamed(self) -> list[int]:
        return sorted(int(path.name.removesuffix(DAMAGED)) for path in self.folder.glob(f"[0-9]*{DAMAGED}"))

    def steps(self) -> list[int]:
        """Returns the steps of the complete checkpoints, in order. Waits for a save in progress."""
        self.wait()
        return sorted(step for step in self._manager.all_steps() if self._is_complete(step))

    def latest_step(self) -> int | None:
        """Returns the newest complete checkpoint's step, or None. Waits for a save in progress."""
        return max(self.steps(), default=None)

    def _is_complete(self, step: int) -> bool:
        folder = self.folder / str(step)
        return not folder.is_dir() or (folder / _METADATA).exists()

    def fingerprint(self) -> str:
        """Returns a hash of the latest checkpoint that differs between trainings and steps; "" if there is none."""
        step = self.latest_step()
        if step is None:
            return ""
        content = (self.folder / str(step) / _METADATA).read_bytes()  # holds the times of saving
        return hashlib.sha256(content).hexdigest()

    def save(self, step: int, state: Any, **facts) -> None:
        """Starts saving `state` as `step`, unless that step is saved already.

        Args:
          facts: JSON values that `facts` returns.

        Raises:
          CheckpointError: this save or an earlier one failed because the disk is full or not writable.
        """
        if step in self._manager.all_steps():
            return
        with self._writing():
            metadata = {"checksums": checksums(state), "facts": facts}
            # force: Orbax would silently skip a step before the latest.
            arguments = ocp.args.StandardSave(to_save(state))
            self._manager.save(step, args=arguments, custom_metadata=metadata, force=True)

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        for later in [one for one in self.steps() if one > step]:
            self._manager.delete(later)

    @contextmanager
    def _writing(self):
        """Raises CheckpointError where writing fails because of the disk."""
        try:
            yield
        except Exception as error:
            problem = disk_problem(error)
            if problem is None:
                raise
            kept = [str(step) for step in self._found() if (self.folder / str(step) / _METADATA).exists()]
            raise CheckpointError(
                f"cannot write a checkpoint to {self.folder}: {problem}. "
                + (f"Earlier checkpoints are kept ({', '.join(kept)}). " if kept else "")
                + "Fix that and run the same command again: it resumes from the last checkpoint."
            ) from error

    def facts(self, step: int) -> dict:
        """Returns the facts given to `save`; {} for checkpoints of earlier versions, which have none."""
        return self._custom_metadata(step).get("facts", {})

    def _custom_metadata(self, step: int) -> dict:
        # Orbax's own function for it looks at every array, which takes as long as reading them.
        return json.loads((self.folder / str(step) / _METADATA).read_bytes()).get("custom_metadata") or {}

    def restore(self, template: Any, step: int | None = None) -> Any:
        """Restores a state.

        Args:
          template: state of the same structure and shapes; its values are not read.
          step: of the checkpoint; None for the latest intact one, before which an owner renames damaged ones.

        Raises:
          CheckpointError: there is no checkpoint, it cannot be read for another reason, or it has another
            architecture; the message names the first differences.
          DamagedCheckpointError: the checkpoint of `step`, or every checkpoint, is damaged.
        """
        if step is not None:
            return self._restore(template, step)
        while steps := self.steps():
            newest, state, problem = steps[-1], None, None
            try:
                state = self._restore(template, newest)
            except DamagedCheckpointError as error:
                problem = error
            # All hosts must resume from the same checkpoint.
            if not total(np.array([problem is not None], np.int64)).any():
                return state
            if not self._owner:
                raise problem or self._damage(newest, "is damaged, according to another host")
            if is_first():
                self._rename(newest, str(problem or "is damaged").removeprefix(self._name(newest)).strip())
            wait_for_all("damaged checkpoint")
            self._manager.reload()
        if renamed := self._renamed():
            raise self._damage(renamed[-1], f"is damaged, and no earlier one is intact. {self._advice(renamed[-1])}")
        raise CheckpointError(f"no checkpoint in {self.folder}")

    def is_new(self) -> bool:
        """Whether nothing was ever saved here, not even a checkpoint that is damaged now."""
        return not self.steps() and not self._renamed()

    def _restore(self, template: Any, step: int) -> Any:
        stored, expected = shapes_of(self.stored(step)), shapes_of(template)
        if differences := compare_trees(stored, expected):
            what, advice = "another architecture than the config", "Use the config that it was trained with"
            if _without_optimizer(stored) == _without_optimizer(expected):
                what = "another optimizer than the config, or that of an earlier version of this program"
                advice = "Its weights fit, but the training cannot resume. Use the config and version it started with"
            listed = "\n  ".join(differences)
            raise CheckpointError(f"{self._name(step)} has {what}:\n  {listed}\n{advice}, or another workdir.")
        alone = jax.process_count() == 1
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0]) if alone else replicated_on_all_hosts()
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=sharding), template)
        with self._reading(step):
            state = as_local(self._manager.restore(step, args=ocp.args.StandardRestore(abstract)))
        self._check(step, state)
        return state

    @contextmanager
    def _reading(self, step: int):
        """Distinguishes damage, which lasts, from a disk or memory that fails now."""
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise many kinds for damaged files
            if is_out_of_memory(error) or isinstance(error, MemoryError):
                raise
            if problem := temporary_problem(error):
                raise CheckpointError(
                    f"{self._name(step)} cannot be read now: {problem}. It is kept; run the same command again."
                ) from error
            raise self._damage(step, f"cannot be read: {_first_line(error)}") from error

    def _name(self, step: int) -> str:
        return f"checkpoint {self.folder}/{step}"

    def _damage(self, step: int, what: str) -> DamagedCheckpointError:
        return DamagedCheckpointError(f"{self._name(step)} {what}")

    def _advice(self, step: int) -> str:
        job = "the job that trained it (--job=pretrain_depth, baseline or train, depending on the folder)"
        older = [one for one in self._found() if one < step and self._unreadable(one) is None]
        if older:
            return f"Run {job} again: it resumes from checkpoint {older[-1]}."
        return f"To train from the start, remove {self.folder} and run {job} again."

    def _check(self, step: int, state: Any) -> None:
        """Verifies the checksums of a state, or of some of its fields."""
        with self._reading(step):
            saved = self._custom_metadata(step).get("checksums")
        found = checksums(state)
        wrong = [name for name in found if saved is not None and saved.get(name) != found[name]]
        if wrong:
            raise self._damage(step, f"is damaged: wrong checksum of {', '.join(wrong)}")

    def restore_variables(self, network: str = "student", step: int | None = None) -> dict:
        """Restores the network variables of a training as host arrays, without knowing its optimizer.

        Args:
          network: "student" or "teacher".
          step: of the checkpoint; None for the latest, which the training ended with: no earlier one replaces it.

        Returns:
          {"params": ..., "batch_stats": ...}.

        Raises:
          CheckpointError: there is no checkpoint, or the training had no teacher.
          DamagedCheckpointError: it is damaged or missing; the message says how to train it again.
        """
        steps = self.steps()
        if step is None:
            step = max([*steps, *self._renamed()], default=None)
        if step is None:
            raise CheckpointError(f"no checkpoint in {self.folder}")
        try:
            if step not in steps:
                raise self._damage(step, "is damaged or missing")
            return self._restore_variables(network, step)
        except DamagedCheckpointError as error:
            raise DamagedCheckpointError(f"{str(error).rstrip('.')}. {self._advice(step)}") from error

    def _restore_variables(self, network: str, step: int) -> dict:
        prefix = {"student": "", "teacher": "teacher_"}[network]
        params, batch_stats = f"{prefix}params", f"{prefix}batch_stats"
        stored = self.stored(step)
        if not stored.get(params):
            raise CheckpointError(f"{self._name(step)} has no {network}; use --config.evaluation.network=student")

        # Leaves outside the wanted subtrees are placeholders: Orbax does not read them.
        def requested(subtree, wanted: bool):
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if wanted else ocp.PLACEHOLDER, subtree
            )

        item = {name: requested(subtree, name in (params, batch_stats)) for name, subtree in stored.items()}
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        with self._reading(step), ocp.PyTreeCheckpointer() as checkpointer:
            state = checkpointer.restore(
                self.folder / str(step) / "default", args=ocp.args.PyTreeRestore(item=item, restore_args=restore_args)
            )
        wanted = {name: state[name] for name in (params, batch_stats) if state.get(name)}
        self._check(step, wanted)
        return {"params": state[params], "batch_stats": state.get(batch_stats) or {}}

    def stored(self, step: int) -> dict:
        """Returns a checkpoint's contents as a tree of shapes and types. Raises DamagedCheckpointError."""
        with self._reading(step):
            return dict(self._manager.item_metadata(step).tree)

    def wait(self) -> None:
        """Returns when all saves are on disk. Raises CheckpointError as `save`."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Finishes saving and frees Orbax's threads. Raises CheckpointError as `save`."""
        with self._writing():
            self._manager.close()
        if self._owner and is_first():
            for step in set(self._renamed()) & set(self._found()):  # saved again
                shutil.rmtree(self.folder / f"{step}{DAMAGED}", ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        try:
            self.close()
        except CheckpointError:
            if kind is None:  # otherwise the first error says more
                raise


def _without_optimizer(shapes: dict) -> dict:
    return {key: shape for key, shape in shapes.items() if not key.startswith("opt_state.")}


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.partition(" See full TensorStore details")[0][:300].rstrip(".")
