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

from sdeseg_jax.runs.out_of_memory import is_out_of_memory
from sdeseg_jax.storage.disk_errors import disk_problem, passing_problem
from sdeseg_jax.training.multi_host import is_first, total, wait_for_all
from sdeseg_jax.training.replication import as_local, everywhere, to_save
from sdeseg_jax.training.state_comparison import checksums, compare_trees, shapes_of

log = logging.getLogger(__name__)

DAMAGED = ".damaged"
"""Ending of the name that a damaged checkpoint gets, until its step is saved again."""

_METADATA = "_CHECKPOINT_METADATA"

_HOW = "The job that trained it (--job=pretrain_depth, baseline or train, by the folder) makes it again"


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

    def __init__(self, folder: str | pathlib.Path, keep: int = 2, owner: bool = False):
        """Opens a folder, which is made if need be.

        Args:
          keep: checkpoints to keep.
          owner: whether this is the training that writes here: it puts aside what is damaged, under another name.

        Raises:
          DamagedCheckpointError: the metadata of one is damaged; not for its owner.
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
        """Steps of all folders that are called like checkpoints."""
        return sorted(int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit() and path.is_dir())

    def _unreadable(self, step: int) -> str | None:
        """What is wrong with a checkpoint's metadata, without which Orbax would not even open the folder."""
        path = self.folder / str(step) / _METADATA
        if not path.exists():  # cut off, by a copy of the workdir, say: Orbax itself renames what is complete
            return "is cut off"
        try:
            json.loads(path.read_bytes())
            _ = ocp.path.step.standard_name_format().find_step(self.folder, step).commit_timestamp
        except OSError:
            raise
        except Exception as error:  # of many kinds
            return f"cannot be read: {_first_line(error)}"
        return None

    def _rename(self, step: int, problem: str) -> None:
        """Puts a checkpoint aside; nothing is deleted on the word of one look at it."""
        log.warning("%s; it is put aside as %s%s", self._damage(step, problem), step, DAMAGED)
        aside = self.folder / f"{step}{DAMAGED}"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(self.folder / str(step), aside)

    def _put_aside(self) -> list[int]:
        return sorted(int(path.name.removesuffix(DAMAGED)) for path in self.folder.glob(f"[0-9]*{DAMAGED}"))

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, in order. Waits for one that is being saved."""
        self.wait()
        return sorted(step for step in self._manager.all_steps() if self._is_complete(step))

    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step, or None. Waits for one that is being saved."""
        return max(self.steps(), default=None)

    def _is_complete(self, step: int) -> bool:
        folder = self.folder / str(step)
        return not folder.is_dir() or (folder / _METADATA).exists()

    def fingerprint(self) -> str:
        """A text that differs between checkpoints, also of the same step of another training; "" without any."""
        step = self.latest_step()
        if step is None:
            return ""
        content = (self.folder / str(step) / _METADATA).read_bytes()  # holds the times of saving
        return hashlib.sha256(content).hexdigest()

    def save(self, step: int, state: Any, **facts) -> None:
        """Starts saving `state` as `step`, unless that is there already.

        Args:
          facts: JSON-able, for `facts`.

        Raises:
          CheckpointError: the disk is full or cannot be written to; the message names what is kept. Of an earlier
            save, too.
        """
        if step in self._manager.all_steps():
            return
        with self._writing():
            metadata = {"checksums": checksums(state), "facts": facts}
            # By force: Orbax would leave out, without a word, a step before the latest.
            arguments = ocp.args.StandardSave(to_save(state))
            self._manager.save(step, args=arguments, custom_metadata=metadata, force=True)

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        for later in [one for one in self.steps() if one > step]:
            self._manager.delete(later)

    @contextmanager
    def _writing(self):
        """Says what is wrong with the disk, where that is why writing fails."""
        try:
            yield
        except Exception as error:
            problem = disk_problem(error)
            if problem is None:
                raise
            kept = [str(step) for step in self._found() if (self.folder / str(step) / _METADATA).exists()]
            raise CheckpointError(
                f"no checkpoint can be written to {self.folder}: {problem}. "
                + (f"What is there is kept ({', '.join(kept)}). " if kept else "")
                + "Put that right and run the same command again: it goes on from the last checkpoint."
            ) from error

    def facts(self, step: int) -> dict:
        """What `save` was told beside the state; {} of checkpoints that are older than that."""
        return self._saved_with(step).get("facts", {})

    def _saved_with(self, step: int) -> dict:
        # Orbax's own way to it looks at every array, which takes as long as reading them.
        return json.loads((self.folder / str(step) / _METADATA).read_bytes()).get("custom_metadata") or {}

    def restore(self, template: Any, step: int | None = None) -> Any:
        """Restores a state.

        Args:
          template: state of the same structure and shapes; its values are not read.
          step: which; None for the latest that is not damaged. Damaged ones are reported and, by their owner, put
            aside.

        Raises:
          CheckpointError: there is none, it cannot be read for another reason, or it is of another architecture; the
            message names the first differences.
          DamagedCheckpointError: the one that is asked for, or all that there are, are damaged.
        """
        if step is not None:
            return self._restore(template, step)
        while steps := self.steps():
            newest, state, problem = steps[-1], None, None
            try:
                state = self._restore(template, newest)
            except DamagedCheckpointError as error:
                problem = error
            # Hosts must not go on from different ones.
            if not total(np.array([problem is not None], np.int64)).any():
                return state
            if not self._owner:
                raise problem or self._damage(newest, "is damaged, says another host")
            if is_first():
                self._rename(newest, str(problem or "is damaged").removeprefix(self._name(newest)).strip())
            wait_for_all("damaged checkpoint")
            self._manager.reload()
        if aside := self._put_aside():
            raise self._damage(aside[-1], f"is damaged, and there is none before it. {self._advice(aside[-1])}")
        raise CheckpointError(f"no checkpoint in {self.folder}")

    def is_new(self) -> bool:
        """Whether nothing was ever saved here: not even something that is damaged now."""
        return not self.steps() and not self._put_aside()

    def _restore(self, template: Any, step: int) -> Any:
        stored, expected = self._stored_shapes(step), shapes_of(template)
        if differences := compare_trees(stored, expected):
            what, advice = "architecture than the config describes", "Use the config that it was trained with"
            if _without_optimizer(stored) == _without_optimizer(expected):
                what = "optimizer than the config describes, or an earlier version of this program had another one"
                advice = "Its weights fit, but the training cannot go on from it. Use what it was begun with"
            raise CheckpointError(
                f"{self._name(step)} is of another {what}:\n  "
                + "\n  ".join(differences)
                + f"\n{advice}, or another workdir."
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
        """Tells damage, which lasts, from a disk or memory that fails now."""
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise many kinds for damaged files
            if is_out_of_memory(error) or isinstance(error, MemoryError):
                raise
            if problem := passing_problem(error):
                raise CheckpointError(
                    f"{self._name(step)} cannot be read now: {problem}. It stays as it is; the same command tries "
                    "again."
                ) from error
            raise self._damage(step, f"cannot be read: {_first_line(error)}") from error

    def _name(self, step: int) -> str:
        return f"checkpoint {self.folder}/{step}"

    def _damage(self, step: int, what: str) -> DamagedCheckpointError:
        return DamagedCheckpointError(f"{self._name(step)} {what}")

    def _advice(self, step: int) -> str:
        older = [one for one in self._found() if one < step and self._unreadable(one) is None]
        if older:
            return f"{_HOW}, from checkpoint {older[-1]}."
        return f"{_HOW} from the start, if you remove {self.folder}."

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
            step = max([*steps, *self._put_aside()], default=None)
        if step is None:
            raise CheckpointError(f"no checkpoint in {self.folder}")
        try:
            if step not in steps:
                raise self._damage(step, "is damaged or gone")
            return self._restore_variables(network, step)
        except DamagedCheckpointError as error:
            raise DamagedCheckpointError(f"{str(error).rstrip('.')}. {self._advice(step)}") from error

    def _restore_variables(self, network: str, step: int) -> dict:
        params, batch_stats = {
            "student": ("params", "batch_stats"),
            "teacher": ("teacher_params", "teacher_batch_stats"),
        }[network]
        stored = self.stored(step)
        if not stored.get(params):
            raise CheckpointError(f"{self._name(step)} has no {network}; set config.evaluation.network")
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
        if self._owner and is_first():
            for step in set(self._put_aside()) & set(self._found()):  # there again
                shutil.rmtree(self.folder / f"{step}{DAMAGED}", ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        try:
            self.close()
        except CheckpointError:
            if kind is None:  # else the error that led here says more
                raise


def _without_optimizer(shapes: dict) -> dict:
    """Shapes of a training's state by their keys, without those of the optimizer."""
    return {key: shape for key, shape in shapes.items() if not key.startswith("opt_state.")}


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.partition(" See full TensorStore details")[0][:300].rstrip(".")
