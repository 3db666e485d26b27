"""Checkpoints: the only module that imports Orbax."""

import hashlib
import operator
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sdeseg_jax.training.replication import as_global, as_local, everywhere

BEST_METRIC = "score"


class CheckpointError(ValueError):
    """A checkpoint is missing, unreadable or of another architecture; the message says which and what to do."""


class Checkpoints:
    """Numbered checkpoints of one training in `folder/<step>`: the latest few and the best.

    Saving is asynchronous and atomic: an interrupted save never passes for a checkpoint. Of several hosts all must make
    the same calls; they write together, into a folder that they share.
    """

    def __init__(self, folder: str | pathlib.Path, keep: int = 2):
        self.folder = pathlib.Path(folder).absolute()
        score_of = operator.itemgetter(BEST_METRIC)
        best = checkpoint_managers.BestN(get_metric_fn=score_of, n=1, keep_checkpoints_without_metrics=False)
        self._manager = ocp.CheckpointManager(
            self.folder,
            item_handlers=ocp.StandardCheckpointHandler(),
            options=ocp.CheckpointManagerOptions(
                create=True,
                enable_async_checkpointing=True,
                best_fn=score_of,  # without it Orbax does not store scores, and a resumed training forgets its best
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                    [checkpoint_managers.LatestN(keep), best]
                ),
            ),
        )

    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step, or None. Waits for one that is being saved."""
        self.wait()
        return max((step for step in self._manager.all_steps() if not self._is_half(step)), default=None)

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

    def save(self, step: int, state: Any, score: float | None = None) -> None:
        """Starts saving `state` as `step`, unless that is there already.

        Args:
          score: higher is better; the best one is kept besides the latest.
        """
        for other in self._manager.all_steps():
            if self._is_half(other):
                self._manager.delete(other)
        if step in self._manager.all_steps():
            return
        metrics = None if score is None else {BEST_METRIC: float(score)}
        self._manager.save(step, args=ocp.args.StandardSave(as_global(state)), metrics=metrics)

    def restore(self, template: Any, step: int | None = None) -> Any:
        """Restores a state.

        Args:
          template: state of the same structure and shapes; its values are not read.
          step: which; None for the latest.

        Raises:
          CheckpointError: there is none, or it is of another architecture; the message names the first differences.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise CheckpointError(f"no checkpoint in {self.folder}")
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
        return as_local(self._manager.restore(step, args=ocp.args.StandardRestore(abstract)))

    def restore_variables(self, network: str = "student", step: int | None = None) -> dict:
        """Restores the network variables of a training as host arrays, without knowing its optimizer.

        Args:
          network: "student" or "teacher".

        Returns:
          {"params": ..., "batch_stats": ...}.

        Raises:
          CheckpointError: there is none, or the training had no teacher.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise CheckpointError(f"no checkpoint in {self.folder}")
        params, batch_stats = {
            "student": ("params", "batch_stats"),
            "teacher": ("teacher_params", "teacher_batch_stats"),
        }[network]
        stored = self._metadata(step)
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
        with ocp.PyTreeCheckpointer() as checkpointer:
            state = checkpointer.restore(
                self.folder / str(step) / "default", args=ocp.args.PyTreeRestore(item=item, restore_args=restore_args)
            )
        return {"params": state[params], "batch_stats": state.get(batch_stats) or {}}

    def _metadata(self, step: int) -> dict:
        try:
            return dict(self._manager.item_metadata(step).tree)
        except Exception as error:  # Orbax raises many kinds for a damaged folder
            raise CheckpointError(f"checkpoint {self.folder}/{step} cannot be read: {error}") from error

    def _stored_shapes(self, step: int) -> dict:
        return shapes_of(self._metadata(step))

    def wait(self) -> None:
        """Returns when everything that was started is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Finishes saving and frees Orbax's threads."""
        self._manager.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


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
