"""The summary that a job prints at its end: scores, time per stage, the report's path or the next command."""

import json
import math
import pathlib
import shlex
import textwrap

from sdeseg_jax.config import STAGES
from sdeseg_jax.config.help_text import command
from sdeseg_jax.evaluation.segmentation_metrics import is_of_one_class, scopes
from sdeseg_jax.runs import open_datasets, required_stages
from sdeseg_jax.runs.config_per_stage import SUMMARIES, stage_config
from sdeseg_jax.runs.workdir import FOLDERS, Workdir
from sdeseg_jax.training.metrics_log import SCORE
from sdeseg_jax.training.multi_host import is_first
from sdeseg_jax.training.progress_line import format_duration

WIDTH = 100
"""Maximum line width in columns; only paths exceed it."""

TRAININGS = ("pretrain_depth", "pretrain_source_depth", "baseline", "train")


def show(config, workdir: Workdir | None, job: str) -> None:
    """Prints the summary of a stage or the pipeline, on the first host; nothing for other jobs."""
    if job in ("pipeline", *STAGES) and is_first() and (text := results_table(config, workdir, job)):
        print(text, flush=True)


def results_table(config, workdir: Workdir, job: str) -> str:
    """Returns scores, times and paths; "" for an empty workdir.

    Args:
      config: of the run.
      workdir: of the run.
      job: that has ended: a stage, or "pipeline". The scores of `evaluate` are shown only after it, the report and the
        pipeline: after a training they are out of date.
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
        times = ", ".join(f"{stage}\xa0{format_duration(spent)}" for stage, spent in seconds.items())  # no-break space
        wrapped = textwrap.wrap(times, WIDTH, initial_indent="Time:    ", subsequent_indent=" " * 9)
        lines += [line.replace("\xa0", " ") for line in wrapped]
    if ends and workdir.finished("report"):
        lines.append(f"Report:  {workdir.folder('report') / 'index.html'}")
    if following := next_stage(config, workdir, job):
        lines.append(f"Next:    {command()} --workdir={shlex.quote(str(workdir.root))} --job={following}")
    return "\n".join(lines)


def next_stage(config, workdir: Workdir, job: str) -> str | None:
    """Returns the stage that the pipeline would run next: the first unfinished one or a summary; None at the end.

    If that one needs another stage that is missing, returns the other. After a summary that the pipeline lacks, its own
    summaries follow only if unfinished: nothing that they summarise has changed.
    """
    if job == "pipeline":
        return None
    order = [stage for stage in config.pipeline.stages if not required_stages.is_unused(workdir, stage)]
    if job in order:
        later = order[order.index(job) + 1 :]
    else:
        later = [one for one in order if one in SUMMARIES and not (job in SUMMARIES and workdir.finished(one))]
    following = next((stage for stage in later if stage in SUMMARIES or not workdir.finished(stage)), None)
    return following and _first_needed(config, workdir, following)


def _first_needed(config, workdir: Workdir, stage: str) -> str:
    absent = [one for one in required_stages.needed_stages(config, stage) if not workdir.finished(one)]
    return _first_needed(config, workdir, absent[0]) if absent else stage


def _lines_of_training(config, workdir: Workdir, stage: str) -> list[str]:
    """Returns lines with the last and the best evaluation during a training, if there were any."""
    file, prefix = workdir.folder(stage) / "metrics.jsonl", SCORE.partition("/")[0] + "/"
    if not (scored := _scored_lines(file) if file.exists() else []):
        return []
    own = stage_config(config, stage)
    if stage in ("baseline", "train"):
        protocol = f"{open_datasets.class_map(own).protocol}, whole image"
    else:
        protocol = f"median scaling per image, cap {own.evaluation.depth_cap:g} m"
    rows = {"last, step {}": scored[-1], "best, step {}, kept in best/": max(scored, key=lambda line: line[SCORE])}
    names = [name for name in scored[-1] if name.startswith(prefix) and name != SCORE]
    lines = [f"During training ({stage}), {protocol}"]
    for what, line in rows.items():
        values = ", ".join(f"{name.removeprefix(prefix)} {line[name]:.3f}" for name in names)
        lines.append(f"  {what.format(line['step']):<44}{values}")
    return ["", *lines, ""]


def _scored_lines(file: pathlib.Path) -> list[dict]:
    """Returns the entries of `metrics.jsonl` with a score, without damaged lines, like the report."""
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
    """Returns lines with the scores of `evaluate` and their protocols: depth and its priors, video, segmentation."""
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
        lines += [
            "",
            f"Held-out video ({video['frames']} frames)   photometric error of the better neighbour",
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
        for name, row in rows:
            mark = "  one class" if is_of_one_class(row) else ""
            lines.append(f"  {name:<44}{_number(row['miou'], 8)}{_number(row['pixel_accuracy'], 17)}{mark}")
    if len(rows) == 2:
        scored = [row["miou"] for _, row in rows]
        lines.append(f"  {'gain':<44}{_number(None if None in scored else scored[1] - scored[0], 8, '+')}")
    if rows:
        lines.append(f"  protocol: {rows[0][1]['protocol']}, {rows[0][1]['inference']}")
        for line in scopes(dict(rows)):
            lines += textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return [*lines, ""]


def _number(value: float | None, width: int, sign: str = "") -> str:
    """Formats a percentage; "null", as in `metrics.json`, where nothing could be scored."""
    return f"{'null':>{width}}" if value is None else f"{value:{sign}{width}.1f}"
