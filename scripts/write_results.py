"""Writes RESULTS.md and its plots from the measured results in results/.

    python scripts/write_results.py [--check]

results/text.md is the page without numbers: placeholders stand for tables, plots and values
(sdeseg_jax/report/results_page.py lists them). results/<experiment>.json holds the runs of an experiment of
configs/experiments.py, results/video.json the depth of real clips. --check writes nothing; it exits with 1 unless page
and plots are what would be written.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works without installation, too

from configs.experiments import EXPERIMENTS, Experiment  # noqa: E402
from configs.tables import TABLES, rows_for  # noqa: E402
from sdeseg_jax.report.learning_curves import digest, draw_learning_curves, drawn_digest  # noqa: E402
from sdeseg_jax.report.results_page import Page, Results, ResultsTable, fill, read_clips, read_records  # noqa: E402

HEAD = "<!-- Written by scripts/write_results.py from results/: edit results/text.md instead. -->\n\n"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--check", action="store_true", help="only say whether RESULTS.md is up to date")
    return parser.parse_args(argv)


def read_experiment(folder: pathlib.Path, name: str, experiment: Experiment) -> Results:
    """An experiment with the runs of its file in `results/`, if there is one.

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


def make_page(root: pathlib.Path) -> Page:
    """The page of a folder's `results/`.

    Raises:
      OSError: `results/text.md` cannot be read.
      ValueError: one of the files is damaged.
    """
    folder = root / "results"
    text = (folder / "text.md").read_text(encoding="utf-8")
    experiments = {name: read_experiment(folder, name, experiment) for name, experiment in EXPERIMENTS.items()}
    page = fill(text, experiments, read_clips(folder / "video.json"), "results/text.md")
    return Page(HEAD + page.text, page.plots)


def outdated(root: pathlib.Path, page: Page) -> list[str]:
    """Files that are not what would be written. Of plots the curves count, not how they are drawn."""
    path = root / "RESULTS.md"
    files = [] if path.exists() and path.read_text(encoding="utf-8") == page.text else ["RESULTS.md"]
    for name, curves in page.plots.items():
        path = root / name
        if not path.exists() or drawn_digest(path.read_text(encoding="utf-8")) != digest(curves):
            files.append(name)
    return files


def main(argv: list[str] | None = None, root: pathlib.Path = ROOT) -> int:
    """Writes or checks the page of a folder; returns the exit status."""
    arguments = parse_arguments(argv)
    try:
        page = make_page(root)
        if arguments.check:
            for name in (files := outdated(root, page)):
                print(f"{name} is not what results/ gives: run python scripts/write_results.py", file=sys.stderr)
            return 1 if files else 0
        (root / "RESULTS.md").write_text(page.text, encoding="utf-8")
        for name, curves in page.plots.items():
            (root / name).write_text(draw_learning_curves(curves), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print("\n".join(["RESULTS.md", *page.plots]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
