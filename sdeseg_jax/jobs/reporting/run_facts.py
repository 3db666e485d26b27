"""What the report says about the run itself: facts, stages with their times and commands, environment, warnings."""

import importlib.metadata
import json
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence

import jax

import sdeseg_jax
from sdeseg_jax.config import UserError, uses_matching, uses_source
from sdeseg_jax.report.report_warnings import alarm_notices, score_notices
from sdeseg_jax.report.run_section import StageFacts
from sdeseg_jax.report.scores_section import NETWORKS
from sdeseg_jax.runs import open_datasets, training_frames
from sdeseg_jax.runs.required_stages import is_unused
from sdeseg_jax.runs.workdir import FOLDERS, Workdir
from sdeseg_jax.training.collapse_alarms import ALARMS

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow", "tensorflow-cpu")
"""Packages whose versions are shown."""


def run_facts(config, labeled: Sequence[str]) -> dict[str, object]:
    """Returns the run's data, labels, classes and seed, and frames that depth is not learned from."""
    return {
        "Dataset": config.data.name,
        **({"Source domain": source_facts(config)} if uses_source(config) else {}),
        "Labelled frames": len(labeled) or "–",
        "Class protocol": open_datasets.class_map(config).protocol if labeled else "–",
        **depth_facts(config),
        "Seed": config.seed,
    }


def depth_facts(config) -> dict[str, str]:
    """Says how many frames of the video are left out of depth's training, and why; empty if none is, or has video."""
    if config.depth.supervision != "self" or "pretrain_depth" not in config.pipeline.stages:
        return {}
    try:
        dataset = open_datasets.open_video(config)
    except UserError:  # it was removed after the training
        return {}
    left_out = training_frames.left_out_of_depth(config, dataset)
    reasons = [f"{len(found)} {what}" for what, found in left_out.items() if len(found)]
    whole = len(dataset.index.with_neighbours)
    return {"Left out of depth": f"of {whole} frames with both neighbours, {'; '.join(reasons)}"} if reasons else {}


def source_facts(config) -> str:
    """Describes the source domain, from which the method learns and the baseline does not."""
    source, settings = open_datasets.open_source(config), config.segmentation
    domain = f" (domain {config.source.options.domain})" if "domain" in config.source.options else ""
    mixed = {"none": "not mixed in", "cut": "mixed in by rectangle"}.get(settings.cross_mix)
    chosen = f", each the nearest of {config.source.n_candidates} in geometry" if uses_matching(config) else ""
    return (
        f"{len(source.index.labeled)} labelled frames of {source.name}/{source.split}{domain}, from which the method "
        f"learns and the baseline does not; {mixed or f'mixed in by {settings.cross_mix}'}{chosen}"
    )


def stage_facts(workdir: Workdir) -> list[StageFacts]:
    """Returns time and command of every stage that has a record, and an entry for the dataset in any case."""
    stages = []
    for stage in FOLDERS:
        record = workdir.record(stage)
        if stage == "report" or (record is None and stage != "dataset"):
            continue
        if record is None:
            stages.append(StageFacts(stage, None, "", "prepared before this run, by another run or prepare_data.py"))
            continue
        own = not workdir.borrows(stage)
        remarks = [] if own else [f"taken from another run: {workdir.folder(stage)}"]
        remarks += [] if record["finished"] else ["not finished"]
        stages.append(StageFacts(stage, record["seconds"], record.get("command", ""), "; ".join(remarks), own))
    return stages


def newest_command(workdir: Workdir) -> str:
    """Returns the command of the newest run that computed anything, with its workdir filled in; "" if unknown."""
    try:
        words = shlex.split(json.loads((workdir.root / "config.json").read_text())["command"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return shlex.join(f"--workdir={workdir.root}" if re.match("--?workdir=", word) else word for word in words)


def environment() -> dict[str, str]:
    """Returns versions, devices and host of this process."""
    devices = jax.devices()
    versions = {"sdeseg_jax": sdeseg_jax.__version__, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    variables = [name for name in ("XLA_FLAGS", "JAX_PLATFORMS", "GLIBC_TUNABLES") if os.environ.get(name)]
    return {
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Devices": f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform}), {jax.process_count()} host(s)",
        "Host": f"{os.cpu_count()} CPUs, {platform.platform()}",
        "Variables": " ".join(f"{name}={os.environ[name]}" for name in variables) or "–",
        "Folder": os.getcwd(),
    }


def notices(config, workdir: Workdir, finished: Sequence[str], scores: Mapping, logs: Mapping) -> list[str]:
    """Returns warnings: unfinished stages, accepted differences in settings, alarms of trainings, odd scores."""
    found = []
    wanted = [one for one in config.pipeline.stages if one != "report" and not is_unused(workdir, one)]
    if missing := [stage for stage in wanted if stage not in finished]:
        found.append(f"Not finished: {', '.join(missing)}. --job=pipeline runs what is missing.")
    segmented = any(stage in finished for stage in ("baseline", "train"))
    if segmented and "evaluate" in finished and not any(name in scores for name in NETWORKS):
        found.append("Segmentation was not scored: no validation frame has a label.")
    for stage in finished:
        if accepted := (workdir.record(stage) or {}).get("accepted"):
            found.append(f"{stage} was made with other settings and kept (--changed=keep): {'; '.join(accepted)}.")
    classes = open_datasets.class_map(config) if any(name in scores for name in NETWORKS) else None
    return [*found, *alarm_notices(logs, ALARMS), *score_notices(scores, classes)]
