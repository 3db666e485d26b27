"""Optional parts of the installation (`pip install sdeseg-jax[data]`): what needs which, checked before work starts."""

import importlib.util
from collections.abc import Iterable, Iterator

from sdeseg_jax.config import UserError
from sdeseg_jax.config.stage_names import TRAININGS

PROJECT = "sdeseg-jax"

EXTRAS = {
    "data": ("tensorflow", "tensorflow_datasets", "array_record", "av", "tqdm"),
    "export": ("onnx", "onnxruntime"),
    "report": ("matplotlib", "clu", "tensorboard"),
}
"""Extra -> packages that it installs."""


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def check_extras(needed: Iterable[tuple[str, str]]) -> None:
    """Raises UserError if a needed extra is not installed, with the command that installs it.

    Args:
      needed: (extra, what needs it), as `needed_extras` yields them.
    """
    missing = {extra: what for extra, what in needed if not all(map(is_installed, EXTRAS[extra]))}
    if not missing:
        return
    lines = []
    for extra, what in missing.items():
        absent = ", ".join(package for package in EXTRAS[extra] if not is_installed(package))
        lines.append(f"{what} needs packages that are not installed: {absent}.")
    command = f'pip install "{PROJECT}[{",".join(missing)}]"'
    raise UserError(" ".join([*lines, f"Install them with: {command}"]))


def needed_extras(config, job: str) -> Iterator[tuple[str, str]]:
    """Yields (extra, what needs it) for a job.

    Args:
      config: of the run.
      job: a stage, `pipeline`, or another name of `jobs.JOBS`.
    """
    yield "data", f"--job={job}"
    stages = config.pipeline.stages if job == "pipeline" else (job,)
    if "report" in stages:
        yield "report", "stage 'report'" if job == "pipeline" else "--job=report"
    trains = any(stage in TRAININGS for stage in stages)
    if trains and config.runtime.tensorboard:
        yield "report", "config.runtime.tensorboard (--config.runtime.tensorboard=False goes without)"
    if job == "predict" and "disparity_color" in config.predict.files:
        yield "report", "config.predict.files = 'disparity_color'"
    if job == "export" and "onnx" in config.export.formats:
        yield "export", "config.export.formats = 'onnx'"
