"""What a job ends with on the console: scores, time per stage, where the report is or what to call next."""

import json
import math
import pathlib
import shlex
import textwrap

from sdeseg_jax.config import STAGES
from sdeseg_jax.runs import open_datasets, stage_order
from sdeseg_jax.runs.config_per_stage import SUMMARIES, stage_config
from sdeseg_jax.runs.workdir import FOLDERS, Workdir
from sdeseg_jax.training.metrics_log import SCORE
from sdeseg_jax.training.multi_host import is_first
from sdeseg_jax.training.progress_line import clock

WIDTH = 100
"""Columns of the table, but for paths."""

TRAININGS = ("pretrain_depth", "pretrain_source_depth", "baseline", "train")


def show(config, workdir: Workdir | None, job: str) -> None:
    """Prints the table at the end of a stage or the pipeline, nothing for other jobs; the first host does it."""
    if job in ("pipeline", *STAGES) and is_first() and (text := results_table(config, workdir, job)):
        print(text, flush=True)


def results_table(config, workdir: Workdir, job: str) -> str:
    """Scores, times and paths; "" of a workdir with nothing in it.

    Args:
      config: of the run.
      workdir: of the run.
      job: that has ended: a stage, or "pipeline". An evaluation is told of after itself and what comes later alone:
        after a training it is out of date.
    """
    records = {stage: workdir.record(stage) for stage in FOLDERS if not workdir.borrows(stage)}
    seconds = {stage: record["seconds"] for stage, record in records.items() if record}
    lines, ends = [], job in ("pipeline", "report")
    if (ends or job == "evaluate") and workdir.finished("evaluate"):
        lines += [*_score_lines(config, records["evaluate"]["metrics"]), f"Metrics: {workdir.root / 'metrics.json'}"]
    elif job in TRAININGS:
        lines += _lines_of_training(config, workdir, job)
    if seconds:
        seconds["total"] = sum(seconds.values())
        times = ", ".join(f"{stage}\xa0{clock(spent)}" for stage, spent in seconds.items())  # no break between the two
        wrapped = textwrap.wrap(times, WIDTH, initial_indent="Time:    ", subsequent_indent=" " * 9)
        lines += [line.replace("\xa0", " ") for line in wrapped]
    if ends and workdir.finished("report"):
        lines.append(f"Report:  {workdir.folder('report') / 'index.html'}")
    if following := next_stage(config, workdir, job):
        lines.append(f"Next:    python -m sdeseg_jax.main --workdir={shlex.quote(str(workdir.root))} --job={following}")
    return "\n".join(lines)


def next_stage(config, workdir: Workdir, job: str) -> str | None:
    """What the pipeline would do after a stage: the first that is not finished, or tells of others; None at the end.

    A stage that it needs, and that is not there either, comes before it. After a summary that the pipeline lacks, those
    that it has are done anew only where they are not finished: it changed nothing that they tell of.
    """
    if job == "pipeline":
        return None
    order = [stage for stage in config.pipeline.stages if not stage_order.is_needless(workdir, stage)]
    if job in order:
        later = order[order.index(job) + 1 :]
    else:
        later = [one for one in order if one in SUMMARIES and not (job in SUMMARIES and workdir.finished(one))]
    following = next((stage for stage in later if stage in SUMMARIES or not workdir.finished(stage)), None)
    return following and _first_needed(config, workdir, following)


def _first_needed(config, workdir: Workdir, stage: str) -> str:
    absent = [one for one in stage_order.needed_stages(config, stage) if not workdir.finished(one)]
    return _first_needed(config, workdir, absent[0]) if absent else stage


def _lines_of_training(config, workdir: Workdir, stage: str) -> list[str]:
    """The last and the best of the evaluations during a training, if it had any."""
    folder, prefix = workdir.folder(stage), SCORE.partition("/")[0] + "/"
    file = folder / "metrics.jsonl"
    scored = _scored_lines(file) if file.exists() else []
    if not scored:
        return []
    own = stage_config(config, stage)
    if stage in ("baseline", "train"):
        protocol = f"{open_datasets.class_map(own).protocol}, whole image"
    else:
        protocol = f"median scaling per image, cap {own.evaluation.depth_cap:g} m"
    rows = {"last, step {}": scored[-1], "best, step {}, kept in best/": max(scored, key=lambda line: line[SCORE])}
    names = [name for name in scored[-1] if name.startswith(prefix) and name != SCORE]
    told = [f"During training ({stage}), {protocol}"]
    for what, line in rows.items():
        values = ", ".join(f"{name.removeprefix(prefix)} {line[name]:.3f}" for name in names)
        told.append(f"  {what.format(line['step']):<44}{values}")
    return ["", *told, ""]


def _scored_lines(file: pathlib.Path) -> list[dict]:
    """Entries of `metrics.jsonl` with a score; lines that are damaged are left out, as in the report."""
    found = []
    for line in file.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            if "step" in entry and math.isfinite(entry[SCORE]):
                found.append(entry)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _score_lines(config, metrics: dict) -> list[str]:
    """The scores of `evaluate`: depth with its priors, held-out video, baseline and method, and by which protocol."""
    lines = []
    if depth := metrics.get("depth"):
        lines += ["", f"{'Depth':<46}{'abs rel':>8}{'RMSE':>8}{'RMSE log':>9}{'d<1.25':>9}"]
        rows = {"self-supervised" if config.depth.supervision == "self" else "learned from known depth": depth}
        rows |= {f"prior: {name} depth per pixel": prior for name, prior in depth["priors"].items()}
        for name, row in rows.items():
            numbers = f"{row['abs_rel']:8.3f}{row['rmse']:8.2f}{row['rmse_log']:9.3f}{row['a1']:9.3f}"
            lines.append(f"  {name:<44}{numbers}")
        lines.append(f"  protocol: {depth['protocol']}, {depth['images']} frames")
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
        if path := video.get("trajectory"):
            prior = path["straight_ahead"]
            lines += [
                f"  path over 5 frames off by {path['snippet_error']:.3f} m ± {path['snippet_deviation']:.3f} "
                f"(straight ahead: {prior['snippet_error']:.3f} ± {prior['snippet_deviation']:.3f}),",
                f"  over whole clips by {path['clip_percent']:.2f} % of their length (straight ahead: "
                f"{prior['clip_percent']:.2f} %), after scaling",
            ]
    rows = [(name, metrics[name]) for name in ("baseline", "method") if name in metrics]
    if rows:
        title = f"Segmentation ({metrics['labels']} labels)"
        lines += ["", f"{title:<46}{'mIoU':>8}{'pixel accuracy':>17}"]
        lines += [f"  {name:<44}{row['miou']:8.1f}{row['pixel_accuracy']:17.1f}" for name, row in rows]
    if len(rows) == 2:
        lines.append(f"  {'gain':<44}{rows[1][1]['miou'] - rows[0][1]['miou']:+8.1f}")
    if rows:
        lines.append(f"  protocol: {rows[0][1]['protocol']}, {rows[0][1]['inference']}")
    return [*lines, ""]
