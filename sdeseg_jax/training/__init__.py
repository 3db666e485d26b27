"""Trainings: state, optimizers, the one step and loop, objectives, checkpoints, logging, data parallelism."""
