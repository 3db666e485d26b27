"""Students: networks that the data selection trains on the frames annotated so far, to score all frames."""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.config import UserError, flatten
from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches, training_batches
from sdeseg_jax.data.sample_order_and_crops import Stream
from sdeseg_jax.runs import build_networks, initial_weights
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.selection.uncertainty import prediction_entropy, student_error
from sdeseg_jax.training.depth_student_objective import make_student_objective
from sdeseg_jax.training.initialization import random_variables
from sdeseg_jax.training.optimizers_and_schedules import student_optimizer
from sdeseg_jax.training.progress_line import ProgressLine
from sdeseg_jax.training.replication import replicate, replicate_inference, round_up
from sdeseg_jax.training.segmentation_objective import make_segmentation_objective
from sdeseg_jax.training.train_state import create_state
from sdeseg_jax.training.train_step import make_step
from sdeseg_jax.training.training_loop import Phase, run


class Students:
    """Trains students, one after another, with one compiled step, and scores frames with them.

    Attributes:
      kind: "student_error": depth students, scored by their error; "entropy": segmentation networks, by their entropy.
    """

    def __init__(self, kind: str, config, dataset: FrameDataset, workdir: Workdir):
        self.kind, self._config, self._dataset = kind, config, dataset
        self._same_devices = workdir.needs_same_devices(config)
        self._disparities = None
        if kind == "student_error":
            self._disparities = DisparityFolder(workdir.folder("estimate_depth"), dataset.split)
        self._network = build_networks.student_network(config, segmentation=kind == "entropy")
        step = make_step(self._objective(), self._optimizer(1))
        self._step = replicate(step, seed=np.uint32(config.seed))
        self._score = replicate_inference(self._score_function())

    def _objective(self):
        if self.kind == "student_error":
            return make_student_objective(self._network)
        config = self._config.copy_and_resolve_references()
        config.segmentation.update(multitask=False, pseudo_labels=False, mix="none", cross_mix="none")
        objective = make_segmentation_objective(self._network, config)
        return lambda params, state, batches, key: objective(params, state, {"labeled": batches["annotated"]}, key)

    def _optimizer(self, steps: int):
        return student_optimizer(self._config.selection.learning_rate, steps)

    def _score_function(self) -> Callable:
        def score(variables, batch):
            outputs = self._network.apply(variables, batch["image"], train=False)
            if self.kind == "entropy":
                return prediction_entropy(outputs.logits)
            return student_error(batch["disparity"], outputs.disparities[0])

        return score

    def train(self, annotated: np.ndarray, steps: int, folder: pathlib.Path):
        """Trains a student from its initial weights, or resumes its interrupted training; returns its variables.

        Its initial weights and the order of its data are functions of the seed and the number of annotated frames.

        Args:
          annotated: record indices.
          steps: of the training.
          folder: for its checkpoints and metrics.
        """
        config, data, runtime = self._config, self._config.data, self._config.runtime
        # A depth student needs no labels: before anything is annotated there are none.
        fields, labeled = (("image", "disparity"), None) if self._disparities else (("image", "label"), annotated)
        batch_size, salt = config.selection.batch_size, 1000 + len(annotated)
        stream = Stream(self._dataset, annotated, batch_size, fields, labeled, self._disparities, salt)
        seed = int(np.random.default_rng([config.seed, 19, len(annotated)]).integers(2**31))
        variables = random_variables(self._network, seed, data.crop)
        own = config.selection
        variables = initial_weights.initialize(variables, own.student, own.init, "selection.init")
        state = create_state(variables, self._optimizer(steps))
        state = run(
            f"student of {len(annotated)}",
            state,
            [Phase(steps, self._step)],
            lambda first: training_batches(
                {"annotated": stream}, data.crop, data.flip, config.seed, first, runtime.reader_threads
            ),
            folder,
            runtime,
            same_devices=self._same_devices,
            hparams=flatten(config) | {"annotated": len(annotated), "steps": steps},
        )
        return {"params": state.params, "batch_stats": state.batch_stats}

    def score(self, variables, frames: np.ndarray) -> np.ndarray:
        """Returns student errors or entropies of frames (record indices), float64 [N].

        Raises:
          UserError: some are not finite; the frames are named.
        """
        batch_size = round_up(self._config.estimate.batch_size)
        fields = ("image", "disparity") if self._disparities else ("image",)
        scores, line = [], ProgressLine(f"scores ({self.kind})", len(frames))
        variables = jax.tree.map(jnp.asarray, jax.device_get(variables))
        batches = evaluation_batches(self._dataset, frames, batch_size, fields, self._disparities)
        for number, (batch, count) in enumerate(batches, 1):
            scores += list(self._score(variables, batch)[:count])
            if number % 50 == 0 or len(scores) == len(frames):
                line.show(len(scores))
        scores = np.array(scores, np.float64)
        if not np.isfinite(scores).all():
            names = [self._dataset.index.ids[i] for i in frames[~np.isfinite(scores)]]
            raise UserError(
                f"the {self.kind} of {len(names)} frames is not finite: {', '.join(names[:20])}"
                f"{', …' if len(names) > 20 else ''}. The student has diverged: lower config.selection.learning_rate"
            )
        return scores
