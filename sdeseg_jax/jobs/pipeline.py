"""Job `pipeline`: the stages of `config.pipeline.stages`, one after another; finished ones are skipped."""

import sys

from sdeseg_jax.config import ConfigError, baseline_config, source_config
from sdeseg_jax.jobs import common
from sdeseg_jax.jobs.workdir import SUMMARIES, Workdir, check_stage, is_outdated
from sdeseg_jax.training.hosts import is_first


def check_order(config, workdir: Workdir) -> None:
    """Raises ConfigError if a stage needs another that is neither finished nor comes before it: hours may lie ahead."""
    from sdeseg_jax.jobs.candidates import stages_before_selection
    from sdeseg_jax.jobs.train import required_stages

    stages = config.pipeline.stages
    if not config.source.name and any(stage in stages for stage in ("pretrain_source_depth", "estimate_source_depth")):
        raise ConfigError("config.pipeline.stages has stages of a source domain, but config.source.name is empty")
    needs = {
        "baseline": required_stages(baseline_config(config)),
        "train": required_stages(config),
        "estimate_depth": {"pretrain_depth": "'estimate_depth' needs a trained depth network"},
        "estimate_source_depth": {"pretrain_source_depth": "'estimate_source_depth' needs a trained depth network"},
        "select_labels": stages_before_selection(config),
    }
    for place, stage in enumerate(stages):
        for other, why in needs.get(stage, {}).items():
            if other not in stages[:place] and not is_needless(workdir, other):
                workdir.require(other, f"config.pipeline.stages: no '{other}' before '{stage}', but {why}")


def check_initial_weights(config, workdir: Workdir) -> None:
    """Raises CheckpointError if `config.init` does not fit the network of a stage: days may lie before it."""
    from sdeseg_jax.training.initialization import check_init

    if not any(config.init.values()):
        return
    for stage in config.pipeline.stages:
        if stage == "pretrain_depth" and not workdir.borrows(stage):
            check_init(common.depth_network(config), config.data.crop, config.init)
        elif stage == "pretrain_source_depth" and not workdir.borrows(stage):
            own = source_config(config)
            check_init(common.depth_network(own), own.data.crop, own.init)
        elif stage in ("baseline", "train"):
            own = baseline_config(config) if stage == "baseline" else config
            check_init(common.segmentation_network(own), config.data.crop, config.init)


def is_finished(config, workdir: Workdir, stage: str) -> bool:
    """Whether there is nothing left to do for a stage; of a selection, as far as its schedule goes now."""
    from sdeseg_jax.jobs.candidates import is_continued

    return workdir.finished(stage) and not (stage == "select_labels" and is_continued(config, workdir))


def is_needless(workdir: Workdir, stage: str) -> bool:
    """Whether a stage's results are of no use: a source's depth network, where its disparity is another run's.

    That run may have had its network from elsewhere itself.
    """
    return stage == "pretrain_source_depth" and workdir.borrows("estimate_source_depth")


def run_job(config, workdir: Workdir) -> None:
    """Runs what is not finished and ends with a table."""
    from sdeseg_jax.jobs import JOBS, load_job  # the registry lists this job, too
    from sdeseg_jax.jobs.evaluate import write_summary
    from sdeseg_jax.jobs.prepare_dataset import check

    check_order(config, workdir)
    check_initial_weights(config, workdir)
    stages = ("dataset", *(stage for stage in config.pipeline.stages if not is_needless(workdir, stage)))
    for stage in workdir.borrowed:
        if stage in stages or stage == "pretrain_depth":
            workdir.require(stage, workdir.borrowed[stage][1])
    complete = all(is_finished(config, workdir, stage) for stage in stages)
    if workdir.finished("dataset") and ("select_labels" in stages or not complete):
        check(config, workdir)  # other stages may be asked for now, or what a selection was made from has changed
    changed = False  # a stage ran now or is scored otherwise, so that an earlier evaluation or report is out of date
    for number, stage in enumerate(stages, 1):
        finished = is_finished(config, workdir, stage)
        if finished:
            check_stage(config, workdir, stage)
            changed = changed or is_outdated(config, workdir, stage)
        if finished and not (changed and stage in SUMMARIES):
            _say(f"[{number}/{len(stages)}] {stage}: finished before", sys.stderr)
            continue
        _say(f"[{number}/{len(stages)}] {stage}: {JOBS[stage].help}", sys.stderr)
        load_job(stage)(config, workdir)
        changed = True
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
