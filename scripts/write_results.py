"""Writes RESULTS.md, its plots, and the README's summary from the measured results in results/.

    python scripts/write_results.py [--check]

results/text.md is the page and results/summary.md the README's part, with placeholders for tables, plots and values
(listed in sdeseg_jax/report/measured_results/results_markdown.py). results/<experiment>.json has the runs of an
experiment of configs/experiments.py, results/video.json the depth of real clips. --check writes nothing; it exits with
1 if the page, a plot or the summary is out of date.
"""

import argparse
import dataclasses
import pathlib
import re
import sys
from collections.abc import Mapping

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works without installation, too

from sdeseg_jax.configs.experiments import EXPERIMENTS, Experiment  # noqa: E402
from sdeseg_jax.configs.tables import TABLES, rows_for  # noqa: E402

from sdeseg_jax.report.measured_results.label_curves import Curves, digest, draw_learning_curves, drawn_digest  # noqa: E402
from sdeseg_jax.report.measured_results.result_records import read_clips, read_records  # noqa: E402
from sdeseg_jax.report.measured_results.results_markdown import Results, ResultsTable, fill  # noqa: E402

HEAD = "<!-- Written by scripts/write_results.py from results/: edit results/text.md instead. -->\n\n"
BEGIN = "<!-- Written by scripts/write_results.py from results/: edit results/summary.md instead. -->\n\n"
END = "\n<!-- End of results/summary.md. -->\n"


@dataclasses.dataclass(frozen=True)
class Files:
    """Files to write, by path relative to the project folder.

    Attributes:
      texts: path -> Markdown.
      plots: path -> curves to draw.
    """

    texts: Mapping[str, str]
    plots: Mapping[str, Curves]


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--check", action="store_true", help="only check that the files are up to date")
    return parser.parse_args(argv)


def read_experiment(folder: pathlib.Path, name: str, experiment: Experiment) -> Results:
    """Returns an experiment with the runs of its file in `results/`, if that exists.

    Raises:
      ValueError: the file is damaged.
    """
    tables = {}
    for part in experiment.parts:
        table = TABLES[part.table]
        rows = {row.name: row.argument for row in rows_for(table, part.config)}
        tables[part.table] = ResultsTable(table.title, part.config, rows, part.labels, table.depth_metrics)
    command, records = read_records(folder / f"{name}.json")
    return Results(tables, experiment.seeds, experiment.overrides, command, records)


def make_files(root: pathlib.Path) -> Files:
    """Returns the files made from a folder's `results/`.

    Raises:
      OSError: a text or `README.md` cannot be read.
      ValueError: a file is damaged, or `README.md` has no place for the summary.
    """
    folder = root / "results"
    experiments = {name: read_experiment(folder, name, experiment) for name, experiment in EXPERIMENTS.items()}
    clips = read_clips(folder / "video.json")

    def read(name: str):
        return fill((folder / name).read_text(encoding="utf-8"), experiments, clips, f"results/{name}")

    page, summary = read("text.md"), read("summary.md")
    readme = with_summary((root / "README.md").read_text(encoding="utf-8"), summary.text)
    return Files({"RESULTS.md": HEAD + page.text, "README.md": readme}, {**page.plots, **summary.plots})


def with_summary(readme: str, summary: str) -> str:
    """Replaces the summary in a README, which lies between two comments.

    Raises:
      ValueError: the README does not have both comments, once and in this order.
    """
    pattern = re.escape(BEGIN) + "(.*?)" + re.escape(END)
    if len(re.findall(pattern, readme, re.DOTALL)) != 1:
        raise ValueError(f"README.md should have the summary once, between the lines\n{BEGIN.strip()}\n{END.strip()}")
    return re.sub(pattern, lambda _: BEGIN + summary + END, readme, flags=re.DOTALL)


def outdated(root: pathlib.Path, files: Files) -> list[str]:
    """Returns the files that are out of date. Plots are compared by their curves, not by how they are drawn."""
    names = []
    for name, text in files.texts.items():
        path = root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            names.append(name)
    for name, curves in files.plots.items():
        path = root / name
        if not path.exists() or drawn_digest(path.read_text(encoding="utf-8")) != digest(curves):
            names.append(name)
    return names


def main(argv: list[str] | None = None, root: pathlib.Path = ROOT) -> int:
    """Writes or checks the files of a folder; returns the exit status."""
    arguments = parse_arguments(argv)
    try:
        files = make_files(root)
        if arguments.check:
            for name in (names := outdated(root, files)):
                print(f"{name} is out of date; run: python scripts/write_results.py", file=sys.stderr)
            return 1 if names else 0
        for name, text in files.texts.items():
            (root / name).write_text(text, encoding="utf-8")
        for name, curves in files.plots.items():
            (root / name).write_text(draw_learning_curves(curves), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print("\n".join([*files.texts, *files.plots]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
