"""Job `dataset`: makes sure that the datasets are ready before anything is computed; Streets is generated here."""

import logging
from collections.abc import Callable, Sequence

from sdeseg_jax.config import uses_pool, uses_source
from sdeseg_jax.data import datasets
from sdeseg_jax.jobs import common
from sdeseg_jax.jobs.candidates import check_chosen_later, check_selection
from sdeseg_jax.jobs.problems import Problems
from sdeseg_jax.jobs.stage_settings import stage_config
from sdeseg_jax.jobs.workdir import Workdir


def find_problems(config, workdir: Workdir, stages: Sequence[str], problems: Problems) -> None:
    """Checks that the datasets have what some stages need: hours may lie before the last of them.

    What may be wrong: a dataset is unknown or not prepared (the message says how to prepare it), or lacks splits,
    labels or video.
    """
    training = problems.of(lambda: common.open_training(config))
    if training is not None:
        problems.of(lambda: common.check_images(config, training))
    if "pretrain_depth" in stages and not workdir.borrows("pretrain_depth"):
        _check_video(config, problems)
    _check_source(config, workdir, stages, problems)
    if training is None:
        return
    if "select_labels" in stages:
        problems.of(lambda: check_selection(config, training, workdir))
    trained = [stage_config(config, stage) for stage in ("baseline", "train") if stage in stages]
    if trained and problems.of(lambda: common.class_map(config)):
        for own in trained:
            if config.data.labels_from != "selection" or "select_labels" not in stages:
                problems.of(lambda own=own: common.labeled_frames(own, training, workdir))
            else:
                problems.of(lambda own=own: check_chosen_later(own, training))
        if "train" in stages and uses_pool(config.segmentation) and config.segmentation.multitask:
            problems.of(lambda: common.depth_candidates(config, training))
    if "evaluate" in stages:
        evaluated = problems.of(lambda: common.open_evaluation(config))
        if evaluated is not None:
            problems.of(lambda: common.open_scored_labels(config, evaluated))


def _check_video(config, problems: Problems) -> None:
    video = problems.of(lambda: common.open_video(config))
    if video is not None:
        problems.of(lambda: common.check_images(config, video))
        problems.of(lambda: common.depth_training_frames(config, video))


def _check_source(config, workdir: Workdir, stages: Sequence[str], problems: Problems) -> None:
    """Checks the source domain as `find_problems` does the target's, as far as stages need it."""

    def of_source(check: Callable):
        with common.source_domain(config) as own:
            return check(own)

    if learns_source_depth(config, workdir, stages):
        video = problems.of(lambda: of_source(common.open_video))
        if video is not None:
            problems.of(lambda: of_source(lambda own: common.check_images(own, video)))
            problems.of(lambda: of_source(lambda own: common.depth_training_frames(own, video)))
    if "estimate_source_depth" in stages and not workdir.borrows("estimate_source_depth"):
        problems.of(lambda: of_source(lambda own: common.check_images(own, common.open_training(own))))
    if "train" in stages and uses_source(config):
        source = problems.of(lambda: common.open_source(config))
        if source is not None:
            problems.of(lambda: common.check_crop(config, source))
            problems.of(lambda: common.source_frames(config, source))


def needs_source(config, stages: Sequence[str]) -> bool:
    """Whether stages read the labelled frames of the source domain."""
    return bool(config.source.name) and (uses_source(config) or "estimate_source_depth" in stages)


def learns_source_depth(config, workdir: Workdir, stages: Sequence[str]) -> bool:
    """Whether one of the stages trains a depth network of the source domain, and needs its video."""
    borrowed = any(workdir.borrows(stage) for stage in ("pretrain_source_depth", "estimate_source_depth"))
    return "pretrain_source_depth" in stages and not borrowed


def run_job(config, workdir: Workdir) -> None:
    """Opens the datasets of `config.data`, `video` and `source`; generates what is procedural and not there yet.

    Raises:
      ConfigError: what `find_problems` finds for the stages of the pipeline.
    """
    stages, problems = config.pipeline.stages, Problems()
    with workdir.stage("dataset", config) as metrics:
        find_problems(config, workdir, stages, problems)
        problems.raise_any()
        if "evaluate" in stages and common.open_evaluation(config) is None:
            logging.getLogger(__name__).warning(
                "%s has no validation split: nothing will be scored (a folder's validation.txt names what to score on)",
                config.data.name,
            )
        sections = {"data": config.data, "video": config.video}
        if needs_source(config, stages):
            sections["source"] = config.source
        if learns_source_depth(config, workdir, stages):
            sections["source.video"] = config.source.video
        for key, section in sections.items():
            if section.name:
                builder = datasets.prepare(
                    section.name, config.data.data_dir, section.options.to_dict(), section.variant
                )
                sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
                metrics[key] = {"name": section.name, **sizes}
