"""Job `pipeline`: the stages of `config.pipeline.stages`, one after another; finished ones are skipped."""

import logging
import sys

from sdeseg_jax.data.disparities import DisparityFolder
from sdeseg_jax.jobs import common, preflight
from sdeseg_jax.jobs.stage_settings import SUMMARIES, stage_config
from sdeseg_jax.jobs.workdir import Workdir, check_stage, outdated_settings
from sdeseg_jax.training.hosts import is_first

log = logging.getLogger(__name__)


def is_finished(config, workdir: Workdir, stage: str) -> bool:
    """Whether there is nothing left to do for a stage; of a selection, as far as its schedule goes now."""
    from sdeseg_jax.jobs.candidates import is_continued

    return workdir.finished(stage) and not (stage == "select_labels" and is_continued(config, workdir))


MAPS = ("estimate_depth", "estimate_source_depth")
"""Stages that leave a file per frame, some of which may be gone when others need them."""


def lacks_maps(config, workdir: Workdir, stage: str) -> bool:
    """Whether files of a finished stage are gone or damaged."""
    dataset = common.open_training(stage_config(config, stage))
    frames = (dataset.index.ids[i] for i in dataset.index.targets)
    return bool(DisparityFolder(workdir.folder(stage), dataset.split).missing(frames))


def run_job(config, workdir: Workdir) -> None:
    """Runs what is not finished and ends with a table."""
    from sdeseg_jax.jobs import JOBS, load_job  # the registry lists this job, too
    from sdeseg_jax.jobs.evaluate import write_summary

    stages = ("dataset", *(one for one in config.pipeline.stages if not preflight.is_needless(workdir, one)))
    preflight.check(config, workdir, stages)
    saved = False  # config.json is of the newest run that does anything
    changed = False  # a stage ran now or is scored otherwise, so that an earlier evaluation or report is out of date
    for number, stage in enumerate(stages, 1):
        finished = is_finished(config, workdir, stage)
        if finished:
            check_stage(config, workdir, stage)
            otherwise = outdated_settings(config, workdir, stage)
            if otherwise:
                log.info("%s is done anew, its settings have changed:\n  %s", stage, "\n  ".join(otherwise))
            changed = changed or bool(otherwise)
        if finished and stage in MAPS and not all(workdir.finished(later) for later in stages[number:]):
            finished = workdir.borrows(stage) or not lacks_maps(config, workdir, stage)
        if finished and not (changed and stage in SUMMARIES):
            _say(f"[{number}/{len(stages)}] {stage}: finished before", sys.stderr)
            continue
        _say(f"[{number}/{len(stages)}] {stage}: {JOBS[stage].help}", sys.stderr)
        if not saved:
            workdir.save_config(config)
        load_job(stage)(config, workdir)
        changed = saved = True
    evaluation = workdir.record("evaluate")
    if evaluation:
        write_summary(workdir, evaluation["metrics"])
        _say(summary_table(evaluation["metrics"], workdir), sys.stdout)


def _say(text: str, stream) -> None:
    """Prints; of several hosts the first does."""
    if is_first():
        print(text, file=stream, flush=True)


def summary_table(metrics: dict, workdir: Workdir) -> str:
    """The table that a run ends with."""
    lines = []
    if depth := metrics.get("depth"):
        lines += [
            "",
            f"Depth ({depth['protocol']}, {depth['images']} frames)   abs rel   RMSE   RMSE log   d<1.25",
            f"  {'self-supervised':<44}{depth['abs_rel']:8.3f}{depth['rmse']:8.2f}{depth['rmse_log']:9.3f}"
            f"{depth['a1']:9.3f}",
        ]
        for name, prior in depth["priors"].items():
            lines.append(
                f"  {'prior: ' + name + ' depth per pixel':<44}{prior['abs_rel']:8.3f}{prior['rmse']:8.2f}"
                f"{prior['rmse_log']:9.3f}{prior['a1']:9.3f}"
            )
    if video := metrics.get("video"):
        lines += ["", f"Held-out video ({video['frames']} frames)   photometric error of the better neighbour"]
        lines += [
            f"  {'warped by depth and ego-motion':<44}{video['photometric']:8.4f}",
            f"  {'not warped':<44}{video['identity']:8.4f}",
        ]
        if motion := video.get("ego_motion"):
            lines.append(
                f"  ego-motion: direction of travel off by {motion['direction_error']:.1f} degrees, rotation by "
                f"{motion['rotation_error']:.2f} (true rotation {motion['rotation']:.2f})"
            )
    rows = [(name, metrics[name]) for name in ("baseline", "method") if name in metrics]
    if rows:
        protocol = f"{rows[0][1]['protocol']}, {rows[0][1]['inference']}"
        lines += ["", f"Segmentation ({metrics['labels']} labels)                mIoU   pixel accuracy"]
        lines += [f"  {name:<36}{row['miou']:10.1f}{row['pixel_accuracy']:14.1f}" for name, row in rows]
    if len(rows) == 2:
        lines.append(f"  {'gain':<36}{rows[1][1]['miou'] - rows[0][1]['miou']:+10.1f}")
    if rows:
        lines.append(f"  protocol: {protocol}")
    report = workdir.folder("report") / "index.html"
    lines += ["", f"Metrics: {workdir.root / 'metrics.json'}"]
    if report.exists():
        lines.append(f"Report:  {report}")
    return "\n".join(lines)
