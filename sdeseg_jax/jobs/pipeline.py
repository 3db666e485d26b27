"""Job `pipeline`: the stages of `config.pipeline.stages`, one after another; finished ones are skipped."""

import logging
import sys

from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.runs import open_datasets, preflight, required_stages
from sdeseg_jax.runs.config_per_stage import SUMMARIES, stage_config
from sdeseg_jax.runs.selection_candidates import has_all_steps
from sdeseg_jax.runs.workdir import Workdir, check_stage, outdated_settings
from sdeseg_jax.training.multi_host import is_first

log = logging.getLogger(__name__)


def is_finished(config, workdir: Workdir, stage: str) -> bool:
    """Whether a stage has nothing left to do; a selection is judged by `has_all_steps`."""
    return has_all_steps(config, workdir) if stage == "select_labels" else workdir.finished(stage)


MAPS = ("estimate_depth", "estimate_source_depth")
"""Stages that write a file per frame; some may be missing when a later stage reads them."""


def lacks_maps(config, workdir: Workdir, stage: str) -> bool:
    """Whether files of a finished stage are missing or damaged."""
    dataset = open_datasets.open_training(stage_config(config, stage))
    frames = (dataset.index.ids[i] for i in dataset.index.targets)
    return bool(DisparityFolder(workdir.folder(stage), dataset.split).missing(frames))


def run_job(config, workdir: Workdir) -> None:
    """Runs the stages that are not finished, and writes `metrics.json`."""
    from sdeseg_jax.jobs import JOBS, load_job  # here, because the registry lists this job, too
    from sdeseg_jax.jobs.evaluate import write_summary

    stages = ("dataset", *(one for one in config.pipeline.stages if not required_stages.is_unused(workdir, one)))
    preflight.check(config, workdir, stages)
    saved = False  # config.json belongs to the newest run that computes anything
    changed = False  # whether a stage ran now, or its settings changed, so that evaluation and report are out of date
    for number, stage in enumerate(stages, 1):
        finished = is_finished(config, workdir, stage)
        if finished:
            check_stage(config, workdir, stage)
            otherwise = outdated_settings(config, workdir, stage)
            if otherwise:
                log.info("%s runs again, its settings have changed:\n  %s", stage, "\n  ".join(otherwise))
            changed = changed or bool(otherwise)
        if finished and stage in MAPS and not all(is_finished(config, workdir, later) for later in stages[number:]):
            finished = workdir.borrows(stage) or not lacks_maps(config, workdir, stage)
        if finished and stage in SUMMARIES:
            # A single job, --job=train for example, may have run since the last evaluation.
            changed = changed or workdir.predates(stage, stages[: number - 1])
        if finished and not (changed and stage in SUMMARIES):
            _print_progress(f"[{number}/{len(stages)}] {stage}: finished before")
            continue
        _print_progress(f"[{number}/{len(stages)}] {stage}: {JOBS[stage].help}")
        if not saved:
            workdir.save_config(config)
        load_job(stage)(config, workdir)
        changed = saved = True
    evaluation = workdir.record("evaluate")
    if evaluation:
        write_summary(workdir, evaluation["metrics"])


def _print_progress(text: str) -> None:
    """Prints progress on the first host."""
    if is_first():
        print(text, file=sys.stderr, flush=True)
