"""Checks that the datasets have what stages need, before hours of computation."""

from collections.abc import Callable, Sequence

from sdeseg_jax.config import uses_pool, uses_source
from sdeseg_jax.runs import crop_and_batch_checks, labeled_frames, open_datasets, training_frames
from sdeseg_jax.runs.config_per_stage import stage_config
from sdeseg_jax.runs.error_list import Problems
from sdeseg_jax.runs.selection_candidates import check_future_selection, check_selection
from sdeseg_jax.runs.workdir import Workdir


def check_datasets(config, workdir: Workdir, stages: Sequence[str], problems: Problems) -> None:
    """Adds to `problems` what the datasets lack for some stages; hours may pass before the last of them.

    Examples: a dataset is unknown or not prepared (the message says how to prepare it), or lacks splits, labels or
    video.
    """
    training = problems.collect(open_datasets.open_training, config)
    if training is not None:
        problems.collect(crop_and_batch_checks.check_images, config, training)
    if "pretrain_depth" in stages and not workdir.borrows("pretrain_depth"):
        _check_video(problems, lambda check, *arguments: check(config, *arguments))
    _check_source(config, workdir, stages, problems)
    if training is None:
        return
    if "select_labels" in stages:
        problems.collect(check_selection, config, training, workdir)
    trained = [stage_config(config, stage) for stage in ("baseline", "train") if stage in stages]
    if trained and problems.collect(open_datasets.class_map, config):
        for own in trained:
            if config.data.labels_from != "selection" or "select_labels" not in stages:
                problems.collect(labeled_frames.labeled_frames, own, training, workdir)
            else:
                problems.collect(check_future_selection, own, training)
        if "train" in stages and uses_pool(config.segmentation) and config.segmentation.multitask:
            problems.collect(training_frames.depth_candidates, config, training)
    if "evaluate" in stages:
        evaluated = problems.collect(open_datasets.open_evaluation, config)
        if evaluated is not None:
            problems.collect(open_datasets.open_scored_labels, config, evaluated)


def _check_video(problems: Problems, call: Callable) -> None:
    """Checks the video that depth is learned from.

    Args:
      call: (check, *arguments) -> check(config, *arguments), with the config of target or source domain.
    """
    video = problems.collect(call, open_datasets.open_video)
    if video is not None:
        problems.collect(call, crop_and_batch_checks.check_images, video)
        problems.collect(call, training_frames.depth_training_frames, video)


def _check_source(config, workdir: Workdir, stages: Sequence[str], problems: Problems) -> None:
    """Checks the source domain as `check_datasets` does the target, as far as stages need it."""

    def call(check: Callable, *arguments):
        with open_datasets.source_domain(config) as own:
            return check(own, *arguments)

    if learns_source_depth(config, workdir, stages):
        _check_video(problems, call)
    if "estimate_source_depth" in stages and not workdir.borrows("estimate_source_depth"):
        frames = problems.collect(call, open_datasets.open_training)
        if frames is not None:
            problems.collect(call, crop_and_batch_checks.check_images, frames)
    if "train" in stages and uses_source(config):
        source = problems.collect(open_datasets.open_source, config)
        if source is not None:
            problems.collect(crop_and_batch_checks.check_crop, config, source)
            problems.collect(training_frames.source_frames, config, source)


def needs_source(config, stages: Sequence[str]) -> bool:
    """Whether stages read the labelled frames of the source domain."""
    return bool(config.source.name) and (uses_source(config) or "estimate_source_depth" in stages)


def learns_source_depth(config, workdir: Workdir, stages: Sequence[str]) -> bool:
    """Whether one of the stages trains a depth network of the source domain, and needs its video."""
    borrowed = any(workdir.borrows(stage) for stage in ("pretrain_source_depth", "estimate_source_depth"))
    return "pretrain_source_depth" in stages and not borrowed


def named_datasets(config, workdir: Workdir, stages: Sequence[str]) -> list[dict]:
    """Returns the datasets that stages will open, each once, as arguments of `datasets.is_ready`."""
    sections = {"data": config.data}
    if "pretrain_depth" in stages and not workdir.borrows("pretrain_depth"):
        sections["video"] = config.video
    if needs_source(config, stages):
        sections["source"] = config.source
    if learns_source_depth(config, workdir, stages):
        sections["source.video"] = config.source.video
    named: dict[tuple, dict] = {}
    for key, one in sections.items():
        if one.name:
            options = one.options.to_dict()
            arguments = {"name": one.name, "options": options, "variant": one.variant, "section": key}
            arguments["data_dir"] = config.data.data_dir
            named.setdefault((one.name, one.variant, str(options)), arguments)
    return list(named.values())
