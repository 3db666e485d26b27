"""RESULTS.md and the README are up to date with results/, and their numbers are those of the records."""

import json
import pathlib
import re
import statistics

import pytest
from sdeseg_jax.configs.experiments import EXPERIMENTS
from sdeseg_jax.configs.tables import TABLES, rows_for

from scripts import write_results

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def page():
    return (ROOT / "RESULTS.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text():
    return (RESULTS / "text.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def summary():
    return (RESULTS / "summary.md").read_text(encoding="utf-8")


def test_page_plots_and_readme_are_up_to_date(capsys):
    status = write_results.main(["--check"])
    assert status == 0, capsys.readouterr().err


def test_pictures_are_there_and_shown(page):
    shown = set(re.findall(r"!\[[^]]+\]\((results/[^)]+)\)", page))
    assert {f"results/{path.name}" for path in RESULTS.iterdir() if path.suffix in (".svg", ".jpg", ".png")} == shown


def test_all_tables_are_shown(text):
    for name, experiment in EXPERIMENTS.items():
        assert f"<!-- provenance: {name} -->" in text
        for part in experiment.parts:
            assert f"<!-- table: {name}/{part.table} -->" in text


@pytest.mark.parametrize(
    "experiment, part",
    [(name, part) for name, experiment in EXPERIMENTS.items() for part in experiment.parts],
    ids=lambda value: value if isinstance(value, str) else value.table,
)
def test_cells_are_means_of_the_records(page, experiment, part):
    runs = json.loads((RESULTS / f"{experiment}.json").read_text(encoding="utf-8"))["runs"]
    table = TABLES[part.table]
    lines = page.split(f"### {table.title}\n")[1].split("###")[0].splitlines()
    shown = {line.split(" | ")[0].removeprefix("| "): line.strip("| ").split(" | ")[1:] for line in lines}
    for row in rows_for(table, part.config):
        cells = shown[row.name][: len(part.labels)]
        for labels, cell in zip(part.labels, cells, strict=True):
            argument = row.argument if labels else row.argument.partition(",selection=")[0]
            wanted = {"config": part.config, "argument": argument, "labels": labels}
            scores = {run["seed"]: run["miou"] for run in runs if wanted.items() <= run.items()}
            assert sorted(scores) == sorted(EXPERIMENTS[experiment].seeds), (row.name, labels)
            assert cell.startswith(f"{statistics.fmean(scores.values()):.1f} ± "), (row.name, labels)


def test_scores_are_not_typed_by_hand(text, summary):
    """Placeholders fill them in from the records; full-size scores of others have their own section."""
    written = text.split("## What to expect")[0] + summary
    measured = re.sub(r"\{\{.*?\}\}|`[^`]*`|(?:Sec|Eq)\. \d+(?:\.\d+)*", "", written)
    assert not re.findall(r".*\d\.\d.*", measured)


def test_lines_fit_and_nothing_is_left_to_write(text, summary, page):
    long = [line for line in (text + summary + page).splitlines() if len(line) > 120 and not line.startswith("|")]
    assert not long and "TODO" not in text + summary
