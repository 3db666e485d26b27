"""Job `dataset`: makes sure that the datasets are ready before anything is computed; Streets is generated here."""

import logging

from sdeseg_jax.config import uses_source
from sdeseg_jax.data import datasets
from sdeseg_jax.jobs import common
from sdeseg_jax.jobs.candidates import check_chosen_later, check_selection
from sdeseg_jax.jobs.workdir import Workdir


def check(config, workdir: Workdir) -> None:
    """Checks that the datasets have what the stages of the pipeline need: hours may lie before the last of them.

    Raises:
      ConfigError: a dataset is unknown or not prepared (says how to prepare it), or lacks splits, labels or video.
    """
    stages = config.pipeline.stages
    training = common.open_training(config)
    common.check_images(config, training)
    if "pretrain_depth" in stages and not config.depth.workdir:
        video = common.open_video(config)
        common.check_images(config, video)
        common.depth_training_frames(config, video)
    check_source(config, workdir)
    if "select_labels" in stages:
        check_selection(config, training, workdir)
    if {"baseline", "train"} & set(stages):
        common.class_map(config)
        if config.data.labels_from != "selection" or "select_labels" not in stages:
            common.labeled_frames(config, training, workdir)
        else:
            check_chosen_later(config, training)
    evaluated = common.open_evaluation(config) if "evaluate" in stages else None
    if evaluated is not None:
        common.open_scored_labels(config, evaluated)
    elif "evaluate" in stages:
        logging.getLogger(__name__).warning(
            "%s has no validation split: nothing will be scored (a folder's validation.txt names what to score on)",
            training.name,
        )


def check_source(config, workdir: Workdir) -> None:
    """Checks the source domain as `check` does the target's, as far as stages need it."""
    stages = config.pipeline.stages
    if learns_source_depth(config, workdir):
        with common.source_domain(config) as own:
            video = common.open_video(own)
            common.check_images(own, video)
            common.depth_training_frames(own, video)
    if "estimate_source_depth" in stages and not workdir.borrows("estimate_source_depth"):
        with common.source_domain(config) as own:
            common.check_images(own, common.open_training(own))
    if "train" in stages and uses_source(config):
        source = common.open_source(config)
        common.check_crop(config, source)
        common.source_frames(config, source)


def learns_source_depth(config, workdir: Workdir) -> bool:
    """Whether the pipeline trains a depth network of the source domain, and needs its video."""
    borrowed = any(workdir.borrows(stage) for stage in ("pretrain_source_depth", "estimate_source_depth"))
    return "pretrain_source_depth" in config.pipeline.stages and not borrowed


def run_job(config, workdir: Workdir) -> None:
    """Opens the datasets of `config.data`, `video` and `source`; generates what is procedural and not there yet.

    Raises:
      ConfigError: as `check`.
    """
    check(config, workdir)
    with workdir.stage("dataset", config) as metrics:
        sections = {"data": config.data, "video": config.video}
        if uses_source(config) or "estimate_source_depth" in config.pipeline.stages:
            sections["source"] = config.source
        if learns_source_depth(config, workdir):
            sections["source.video"] = config.source.video
        for key, section in sections.items():
            if section.name:
                builder = datasets.prepare(
                    section.name, config.data.data_dir, section.options.to_dict(), section.variant
                )
                sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
                metrics[key] = {"name": section.name, **sizes}
