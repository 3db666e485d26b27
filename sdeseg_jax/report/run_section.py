"""The sections about the run itself: summary with warnings, times, commands, environment, labels, config."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from sdeseg_jax.report.html_markup import Html, details, element, join, paragraph, table
from sdeseg_jax.report.scores_section import NETWORKS, depth_scores, segmentation_scores, video_scores


@dataclasses.dataclass(frozen=True)
class StageFacts:
    """A stage as the report describes it.

    Attributes:
      seconds: its time over all starts; None if it did not run here.
      command: the last one that ran it; "" if it was not recorded.
      remark: e.g. which other run the stage belongs to.
      own: whether this run executed it, so that its time counts.
    """

    name: str
    seconds: float | None
    command: str = ""
    remark: str = ""
    own: bool = True


def duration(seconds: float) -> str:
    """Formats a time: in seconds below ten minutes, in hours and minutes from there on."""
    if seconds < 600:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def summary(facts: Mapping[str, object], metrics: Mapping, notices: Sequence[str]) -> Html:
    """Returns the summary: what the run is, its warnings, its scores.

    Args:
      facts: name -> value.
      metrics: of the stage `evaluate`; may be empty.
      notices: warnings, a sentence or two each; may be empty.
    """
    about = paragraph(
        "Semantic segmentation from few labels, supported by depth that was learned from video without labels "
        "(Hoyer et al., IJCV 2023). The baseline is trained by the same program on the labelled frames alone."
    )
    warnings = None
    if notices:
        items = element("ul", *(element("li", notice) for notice in notices))
        warnings = element("div", element("h3", "Warnings"), items, class_="warning")
    tables = []
    if any(name in metrics for name in NETWORKS):
        tables.append(segmentation_scores(metrics))
    if "depth" in metrics:
        tables.append(depth_scores(metrics["depth"]))
    if "video" in metrics:
        tables.append(video_scores(metrics["video"]))
    tables.append(element("div", element("h3", "Data"), table((), facts.items(), class_="facts")))
    return join([about, *filter(None, [warnings]), element("div", *tables, class_="columns")])


def run_section(
    stages: Sequence[StageFacts], newest: str, environment: Mapping[str, str], labeled: Sequence[str], config: Mapping
) -> Html:
    """Returns times and commands of the stages, the environment, and, collapsed, the labelled frames and the config.

    Args:
      stages: in the order in which they run.
      newest: command of the newest run in the folder; "" if unknown.
      environment: name -> value.
      labeled: ids of the annotated training frames; may be empty.
      config: key -> value.
    """
    content = [element("h3", "Time"), *_times(stages), element("h3", "Commands"), *_commands(stages, newest)]
    content += [element("h3", "Environment"), paragraph("The process that wrote this page.")]
    content += [table((), environment.items(), class_="facts"), element("h3", "Labels and settings")]
    if labeled:
        items = (element("li", element("code", name)) for name in labeled)
        content.append(details(f"The {len(labeled)} labelled frames", element("ul", *items, class_="ids")))
    rows = [[element("code", key), element("code", repr(value))] for key, value in sorted(config.items())]
    content.append(details(f"The config ({len(rows)} settings)", table(("setting", "value"), rows, class_="facts")))
    return join(content)


def _times(stages: Sequence[StageFacts]) -> list[Html]:
    rows = [
        [stage.name, "not recorded" if stage.seconds is None else duration(stage.seconds), stage.remark]
        for stage in stages
    ]
    total = sum(stage.seconds for stage in stages if stage.own and stage.seconds is not None)
    rows.append(["total", duration(total), "stages that this run executed and recorded, without this report"])
    note = paragraph("Times include compilation and, of interrupted stages, every start.")
    return [note, table(("stage", "time", "remark"), rows, class_="times")]


def _commands(stages: Sequence[StageFacts], newest: str) -> list[Html]:
    """The commands with the stages that they ran, and which stages have no recorded command."""
    grouped: dict[str, list[str]] = {}
    for stage in stages:
        if stage.command:
            grouped.setdefault(stage.command, []).append(stage.name)
    entries = [(", ".join(names), line) for line, names in grouped.items()]
    unknown = [stage.name for stage in stages if stage.own and not stage.command and stage.seconds is not None]
    note = []
    if newest:
        entries.append(("the newest run in this folder", newest))
        note = [paragraph("To run one stage alone, use the same command with --job=<stage>, named in the table above.")]
    if unknown:
        note.insert(0, paragraph(f"No separate command was recorded for {', '.join(unknown)}."))
    listed = (part for name, line in entries for part in (element("dt", name), element("dd", command(line))))
    return [*note, element("dl", *listed)] if entries else note


def command(line: str) -> Html:
    """Returns a command line that wraps between words or, if it must, in a flag's value, but not in its name."""

    def code(word: str) -> Html:
        flag, rest = re.match(r"(-*\w*)(.*)", word, re.DOTALL).groups()
        return element("code", element("span", flag, class_="flag"), rest)

    return join(part for word in line.split(" ") for part in (code(word), " "))
