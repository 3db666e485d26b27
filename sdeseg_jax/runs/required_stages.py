"""Which stages have to be finished before another."""

from collections.abc import Callable, Sequence

from sdeseg_jax.config import baseline_config, needs_disparity, needs_source_disparity
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.selection.annotation_schedule import METHODS


def required_stages(config) -> dict[str, str]:
    """Returns {stage: why it must be finished before a training of segmentation}."""
    segmentation, required = config.segmentation, {}
    if "depth" in (segmentation.init_encoder, segmentation.init_decoder):
        required["pretrain_depth"] = "config.segmentation.init_encoder/init_decoder = 'depth' take its weights"
    if needs_disparity(config):
        required["estimate_depth"] = "mixing by depth (config.segmentation.mix, cross_mix) reads the stored disparity"
    if needs_source_disparity(config):
        required["estimate_source_depth"] = (
            "mixing with source frames (config.segmentation.cross_mix), or choosing them by geometry "
            "(config.source.n_candidates), reads their stored disparity"
        )
    if config.data.labels_from == "selection":
        required["select_labels"] = "config.data.labels_from = 'selection' reads its selection"
    return required


def stages_before_selection(config) -> dict[str, str]:
    """Returns {stage: why it must be finished before `select_labels`}."""
    method, required = METHODS[config.selection.method], {}
    setting = f"config.selection.method = '{config.selection.method}'"
    if method.coverage or method.first == "coverage":
        required["pretrain_depth"] = f"{setting} reads its features"
    if method.score == "student_error":
        required["estimate_depth"] = f"{setting} trains a student on its disparity"
    return required


def is_unused(workdir: Workdir, stage: str) -> bool:
    """Whether nothing reads a stage's results: a source's depth network if its disparity belongs to another run.

    That run may itself have taken its network from elsewhere.
    """
    return stage == "pretrain_source_depth" and workdir.borrows("estimate_source_depth")


def needed_stages(config, stage: str) -> dict[str, str]:
    """Returns {other stage: why it must be finished before this one}."""
    why = f"'{stage}' needs a trained depth network"
    needs: dict[str, Callable[[], dict]] = {
        "baseline": lambda: required_stages(baseline_config(config)),
        "train": lambda: required_stages(config),
        "estimate_depth": lambda: {"pretrain_depth": why},
        "estimate_source_depth": lambda: {"pretrain_source_depth": why},
        "select_labels": lambda: stages_before_selection(config),
    }
    return needs[stage]() if stage in needs else {}


def used_stages(config, stages: Sequence[str]) -> set[str]:
    """Returns some stages and those that they need."""
    return {*stages, *(other for stage in stages for other in needed_stages(config, stage))}
