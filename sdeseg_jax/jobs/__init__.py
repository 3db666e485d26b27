"""What `--job` names: one module per job, with `run_job(config, workdir)` in it."""

import dataclasses
import importlib
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Job:
    """A job by name.

    Attributes:
      module: in this package.
      help: one line for `--help` and progress.
      function: of the module.
      flags: command line flags that it takes as arguments of the same names.
      reads_only: whether it writes nothing into the workdir, so that others may use it at the same time.
      section: of its settings.
    """

    module: str
    help: str
    function: str = "run_job"
    flags: tuple[str, ...] = ()
    reads_only: bool = False
    section: str = ""


JOBS = {
    "pipeline": Job("pipeline", "all stages, one after another; finished ones are skipped"),
    "dataset": Job("prepare_dataset", "check that the datasets are prepared (Streets is generated)"),
    "pretrain_depth": Job("pretrain_depth", "learn depth and ego-motion from video, without labels", section="depth"),
    "estimate_depth": Job("estimate_depth", "store the disparity of every training frame"),
    "pretrain_source_depth": Job("pretrain_depth", "learn depth of the source domain from its video", "run_source"),
    "estimate_source_depth": Job("estimate_depth", "store the disparity of every source frame", "run_source"),
    "select_labels": Job("select_labels", "choose the frames that are worth annotating", section="selection"),
    "baseline": Job(
        "train", "train the supervised baseline on the labelled frames", "run_baseline", section="baseline"
    ),
    "train": Job("train", "train segmentation with few labels and much unlabelled video", section="segmentation"),
    "evaluate": Job("evaluate", "score depth, baseline and method on the validation frames", section="evaluation"),
    "report": Job("report", "write report/index.html with curves and pictures"),
    "predict": Job(
        "predict",
        "predict labels and depth of images and videos",
        flags=("input", "output", "model"),
        reads_only=True,
        section="predict",
    ),
    "export": Job(
        "export", "write the trained networks for use elsewhere: StableHLO, SavedModel, ONNX", section="export"
    ),
}


def load_job(name: str) -> Callable:
    """Returns a job's function. Its module, and TensorFlow with it, is imported only now."""
    job = JOBS[name]
    return getattr(importlib.import_module(f"{__name__}.{job.module}"), job.function)
