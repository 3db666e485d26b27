"""How a run was made: summary, warnings, stages with their commands and times, environment, labels, config."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from sdeseg_jax.report.html_markup import Html, details, element, join, paragraph, table
from sdeseg_jax.report.scores_section import NETWORKS, depth_scores, segmentation_scores, video_scores


@dataclasses.dataclass(frozen=True)
class StageFacts:
    """What is known of a stage.

    Attributes:
      name: of the stage.
      seconds: that it took, all its starts together; None if it was not run here.
      command: that it was last run by; "" if that was not recorded.
      remark: what else there is to say, e.g. of whose run it is.
      own: whether this run did it, so that its time counts.
    """

    name: str
    seconds: float | None
    command: str = ""
    remark: str = ""
    own: bool = True


def duration(seconds: float) -> str:
    """Seconds, from ten minutes on hours and minutes."""
    if seconds < 600:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def summary(facts: Mapping[str, object], metrics: Mapping, notices: Sequence[str]) -> Html:
    """What the run is, what to beware of, and its scores.

    Args:
      facts: name -> value.
      metrics: of the stage `evaluate`; may be empty.
      notices: a sentence or two each; may be empty.
    """
    about = paragraph(
        "Semantic segmentation from few labels, helped by depth that was learned from video without labels "
        "(Hoyer et al., IJCV 2023). The baseline is the same program trained on the labelled frames alone."
    )
    beware = None
    if notices:
        items = element("ul", *(element("li", notice) for notice in notices))
        beware = element("div", element("h3", "To beware of"), items, class_="warning")
    tables = []
    if any(name in metrics for name in NETWORKS):
        tables.append(segmentation_scores(metrics))
    if "depth" in metrics:
        tables.append(depth_scores(metrics["depth"]))
    if "video" in metrics:
        tables.append(video_scores(metrics["video"]))
    tables.append(element("div", element("h3", "Data"), table((), facts.items(), class_="facts")))
    return join([about, *filter(None, [beware]), element("div", *tables, class_="columns")])


def run_section(
    stages: Sequence[StageFacts],
    newest: str,
    environment: Mapping[str, str],
    labeled: Sequence[str],
    config: Mapping,
) -> Html:
    """Time and command of every stage, the environment, and folded away the labelled frames and the config.

    Args:
      stages: in their order.
      newest: command of the newest run in the folder; "" if it is not known.
      environment: name -> value.
      labeled: ids of the annotated training frames; may be empty.
      config: key -> value.
    """
    content = [element("h3", "Time"), *_times(stages), element("h3", "Commands"), *_commands(stages, newest)]
    content += [element("h3", "Environment"), paragraph("Of the process that made this page.")]
    content.append(table((), environment.items(), class_="facts"))
    content += [element("h3", "Labels and settings")]
    if labeled:
        items = (element("li", element("code", name)) for name in labeled)
        content.append(details(f"The {len(labeled)} labelled frames", element("ul", *items, class_="ids")))
    rows = [[element("code", key), element("code", repr(value))] for key, value in sorted(config.items())]
    content.append(details(f"The config, {len(rows)} settings", table(("setting", "value"), rows, class_="facts")))
    return join(content)


def _times(stages: Sequence[StageFacts]) -> list[Html]:
    rows = [
        [stage.name, "not recorded" if stage.seconds is None else duration(stage.seconds), stage.remark]
        for stage in stages
    ]
    total = sum(stage.seconds for stage in stages if stage.own and stage.seconds is not None)
    rows.append(["total", duration(total), "of what this run did and recorded, without this page"])
    note = paragraph("Interrupted stages count with all their starts. Compilation is part of the stages.")
    return [note, table(("stage", "time", "remark"), rows, class_="times")]


def _commands(stages: Sequence[StageFacts], newest: str) -> list[Html]:
    """Commands with the stages that they ran; stages without a recorded one are those of the newest."""
    grouped: dict[str, list[str]] = {}
    for stage in stages:
        if stage.command:
            grouped.setdefault(stage.command, []).append(stage.name)
    entries = [(", ".join(names), line) for line, names in grouped.items()]
    unknown = [stage.name for stage in stages if stage.own and not stage.command and stage.seconds is not None]
    note = []
    if newest:
        entries.append(("the newest run in this folder", newest))
        note = [paragraph("Any stage alone: the same command with --job=<stage>, the stage's name in the table above.")]
    if unknown:
        note.insert(0, paragraph(f"No command of their own is recorded for {', '.join(unknown)}."))
    listed = (part for name, line in entries for part in (element("dt", name), element("dd", command(line))))
    return [*note, element("dl", *listed)] if entries else note


def command(line: str) -> Html:
    """A command line that breaks between words, or within what stands after a flag's dashes if need be."""

    def code(word: str) -> Html:
        flag, rest = re.match(r"(-*\w*)(.*)", word, re.DOTALL).groups()
        return element("code", element("span", flag, class_="flag"), rest)

    return join(part for word in line.split(" ") for part in (code(word), " "))
