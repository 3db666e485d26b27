"""Objective of the depth student of the data selection (Sec. 3.2): berHu to the disparity of the depth network."""

import jax

from sdeseg_jax.depth.loss_terms import berhu
from sdeseg_jax.selection.uncertainty import LOSS_BOTTOM, upper_rows
from sdeseg_jax.training.forward_passes import Forward
from sdeseg_jax.training.replication import AXIS
from sdeseg_jax.training.train_step import Objective, Outcome


def make_student_objective(network) -> Objective:
    """Builds the objective on batches {"annotated": {"image", "disparity"}} of an encoder and depth decoder."""

    def objective(params, state, batches, key):
        batch = batches["annotated"]
        forward = Forward(network, params, state.batch_stats, jax.random.fold_in(key, 0))
        disparity = forward(batch["image"]).disparities[0]
        valid = upper_rows(disparity.shape[1], LOSS_BOTTOM)
        loss = berhu(disparity, batch["disparity"], valid, axis_name=AXIS)
        return loss, Outcome({"berhu": loss}, forward.batch_stats, state.teacher_batch_stats, {})

    return objective
