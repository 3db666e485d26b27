"""The reference page of all settings, docs/settings.md, made from the table of settings."""

from collections.abc import Iterable

from sdeseg_jax.config.all_settings import SETTINGS
from sdeseg_jax.config.setting import Setting
from sdeseg_jax.config.stage_names import stages_text

HEAD = """# Settings

Every setting, with the paper's value for Cityscapes at full size as default. Files in `configs/` change some of them;
the command line changes any of them, and tells about any of them:

    sdeseg run --config=streets --workdir=runs/streets --config.segmentation.steps=2000
    sdeseg run --help-config segmentation.mix

*Stages* are those that a setting concerns; *trainings* are depth training, students of the selection, baseline and
train. A stage records the settings that its results depend on: with another value they are outdated. Settings marked
with * are not recorded: they may change at any time.

This page is written by `scripts/write_settings_page.py`.
"""

SECTIONS = {
    "": "General",
    "runtime": "Checkpoints, logs, input",
    "data": "Dataset and labels",
    "video": "Other video to learn depth from",
    "source": "Source domain (Sec. 3.5)",
    "model": "Networks",
    "init": "First weights",
    "depth": "Depth training (Sec. 3.1)",
    "estimate": "Stored disparity",
    "selection": "Selection of frames to annotate (Sec. 3.2)",
    "segmentation": "Segmentation (Sec. 3.3, 3.4)",
    "baseline": "What the supervised baseline does differently",
    "evaluation": "Evaluation",
    "predict": "Prediction",
    "export": "Export",
    "pipeline": "Pipeline",
}
"""First part of a setting's key -> heading."""


def settings_page() -> str:
    """Returns the page as Markdown."""
    groups: dict[str, list[Setting]] = {section: [] for section in SECTIONS}
    for key, setting in SETTINGS.items():
        groups[key.partition(".")[0] if "." in key else ""].append(setting)
    return "\n".join([HEAD, *(_section(name, group) for name, group in groups.items())])


def _section(name: str, settings: Iterable[Setting]) -> str:
    lines = [f"## {SECTIONS[name]}" + (f": `{name}`" if name else ""), ""]
    lines += ["| setting | default | values | stages | what it does |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *map(_row, settings), ""])


def _row(setting: Setting) -> str:
    default = "" if setting.holds_options else f"`{setting.default!r}`"
    values = "options of the dataset" if setting.holds_options else setting.allowed()
    key = f"`{setting.key}`" + ("*" if setting.recorded_by == () else "")
    cells = (key, default, values, stages_text(setting.stages), setting.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
