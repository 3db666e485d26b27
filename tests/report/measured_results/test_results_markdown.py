"""The page of results, from a few records made by hand."""

import json
import math
import re
import xml.etree.ElementTree

import pytest

from scripts import write_results
from sdeseg_jax.report.measured_results.label_curves import Point, digest, draw_learning_curves, drawn_digest, positions
from sdeseg_jax.report.measured_results.result_records import Record, read_clips, read_records
from sdeseg_jax.report.measured_results.results_markdown import Results, ResultsTable, fill, shown_records
from sdeseg_jax.report.measured_results.tables_over_seeds import Run, argument_for

CONFIG = "configs/streets.py:encoder=resnet18_quarter"
PROTOCOL = "cityscapes-19, input 96x192, whole image"
ROWS = {"Baseline": "depth=none", "Transfer": "depth=transfer", "Selected": "depth=transfer,selection=ds_us"}
TABLE = ResultsTable("A title", CONFIG, ROWS, (8, 16, 0), ("abs_rel",))


def entry(argument, labels, seed, miou, **other):
    depth = {} if argument == "depth=none" else {"abs_rel": 0.25}
    facts = {"protocol": PROTOCOL, "iou": {}, "depth": depth, "minutes": 2.0, "device": "1 x A", "commit": "abc1234"}
    run = {"config": CONFIG, "argument": argument, "labels": labels, "seed": seed, "miou": miou}
    return run | facts | {"date": "2026-11-28"} | other


ENTRIES = [
    entry("depth=none", 8, 0, 30.0),
    entry("depth=none", 8, 1, 32.0),
    entry("depth=none", 8, 2, 34.0, device="2 x B", date="2026-11-30"),
    entry("depth=transfer", 8, 0, 29.96),
    entry("depth=transfer", 0, 0, 50.0),
    entry("depth=elsewhere", 8, 0, 99.0),
]


@pytest.fixture
def write(tmp_path):
    """write(entries) -> path of an experiment's file."""

    def write(entries, name="streets"):
        path = tmp_path / "streets.json"
        path.write_text(json.dumps({"experiment": name, "command": "python run.py", "runs": entries}))
        return path

    return write


@pytest.fixture
def make(write):
    """make(entries) -> experiments."""

    def make(entries=ENTRIES):
        command, records = read_records(write(entries))
        return {"streets": Results({"labels": TABLE}, (0, 1, 2), ("--config.a=1",), command, records)}

    return make


def filled(text, experiments, clips=()):
    return fill(text, experiments, clips, "text.md").text


@pytest.mark.parametrize(
    "placeholder, value",
    [
        ("Baseline | 8", "32.0"),
        ("Baseline | 8 | mean", "32.0"),
        ("Baseline | 8 | deviation", "2.0"),
        ("Baseline | 8 | seeds", "3"),
        ("Transfer | 8 | gain", "+0.0"),  # -0.04 to the baseline of that seed
        ("Baseline | 8 | gain", "+0.0 ± 0.0"),
        ("Baseline | 8 | gain over Transfer", "+0.0"),
        ("Transfer | 8 | gain over Selected", "–"),
        ("Transfer | 8 | deviation", "–"),
        ("Transfer | 8 | abs_rel", "0.250"),
        ("Baseline | 8 | abs_rel", "–"),
        ("Transfer | 16", "–"),
        ("Transfer | 16 | gain", "–"),
        ("Transfer | 16 | seeds", "0"),
        ("Transfer |\n 0", "50.0"),
        ("Selected | 0", "50.0"),
        ("Selected | 8", "–"),
    ],
)
def test_values(make, placeholder, value):
    assert filled(f"It is {{{{streets/labels | {placeholder}}}}} %.", make()) == f"It is {value} %."


def test_nothing_is_selected_of_all_labels():
    assert argument_for("depth=transfer,selection=ds_us", 0) == "depth=transfer"
    assert argument_for("depth=transfer,selection=ds_us", 8) == "depth=transfer,selection=ds_us"
    assert argument_for("depth=transfer", 0) == "depth=transfer"


def test_table(make):
    page = filled("Before.\n\n<!-- table: streets/labels -->\n\nAfter.\n", make())
    assert page.splitlines() == [
        "Before.",
        "",
        "### A title",
        "",
        "| mIoU [%] | 8 labels | 16 labels | all labels | abs_rel |",
        "| --- | --- | --- | --- | --- |",
        "| Baseline | 32.0 ± 2.0 | – | – | – |",
        "| Transfer | 30.0 (+0.0) [1 of 3 seeds] | – | 50.0 [1 of 3 seeds] | 0.250 |",
        "| Selected | – | – | 50.0 [1 of 3 seeds] | – |",
        "",
        "3 seeds: mean ± standard deviation (and those of the difference to the first row, seed by seed).",
        f"Protocol: {PROTOCOL}.",
        "",
        "After.",
    ]


def test_provenance_is_of_the_runs_that_are_shown(make):
    experiments = make()
    page = filled("<!-- provenance: streets -->", experiments)
    command = "    python run.py\n\nwhich gives every run these settings:\n\n    --config.a=1\n\n"
    assert page.startswith(f"Measured with\n\n{command}")
    facts = "5 runs, 10 minutes of training and scoring, without what they share, 2026-11-28 to 2026-11-30; "
    assert page.replace("\n", " ").endswith(f"{facts}devices: 1 x A (4 runs), 2 x B (1 run); commit: abc1234.")
    assert len(shown_records(experiments["streets"])) == 5


def test_long_commands_are_wrapped():
    command = "python run.py " + " ".join(f"--config.setting_{i}={i}" for i in range(20))
    record = Record(Run(30.0, PROTOCOL, {}), 2.0, "1 x A", "abc1234", "2026-11-28")
    records = {(CONFIG, "depth=none", 8, 0): record}
    page = filled("<!-- provenance: e -->", {"e": Results({"labels": TABLE}, (0,), (), command, records)})
    code = [line for line in page.splitlines() if line.startswith("    ")]
    assert max(map(len, page.splitlines())) <= 120 and len(code) > 2
    assert " ".join(" ".join(code).replace("\\", "").split()) == command


def test_nothing_is_measured_yet(tmp_path):
    assert read_records(tmp_path / "streets.json") == ("", {})
    assert read_clips(tmp_path / "video.json") == []
    experiments = {"streets": Results({"labels": TABLE}, (0, 1, 2))}
    text = "<!-- provenance: streets -->\n<!-- table: streets/labels -->\n<!-- plot: streets/labels -->\n<!-- video -->"
    page = fill(text, experiments, [], "text.md")
    assert not page.plots
    said = ("No run is finished.", "| Baseline | – | – | – | – |", "No run of this plot is", "No clip is measured.")
    assert all(sentence in page.text for sentence in said)


@pytest.mark.parametrize(
    "placeholder, message",
    [
        ("{{streets/label | Baseline | 8}}", "unknown table: 'streets/label'; did you mean 'streets/labels'?"),
        ("{{streets/labels | Baselin | 8}}", "unknown row of streets/labels: 'Baselin'; did you mean 'Baseline'?"),
        ("{{streets/labels | Baseline | 18}}", "unknown number of labels of streets/labels: '18'; did you mean"),
        ("{{streets/labels | Baseline | 8 | deviaton}}", "unknown value … 'deviaton'; did you mean 'deviation'?"),
        ("{{streets/labels | Transfer | 8 | gain over Baselin}}", "unknown row … 'Baselin'; did you mean 'Baseline'?"),
        ("{{streets/labels | Baseline}}", "must be table | row | labels"),
        ("{{streets/labels | Baseline | 8}", "unmatched {{: write {{placeholder}}"),
        ("<!-- tabel: streets/labels -->", "unknown kind of placeholder: 'tabel'; did you mean 'table'?"),
        ("<!-- plot: streets/lables -->", "unknown table: 'streets/lables'; did you mean 'streets/labels'?"),
        ("<!-- provenance: street -->", "unknown experiment: 'street'; did you mean 'streets'?"),
    ],
)
def test_unknown_placeholders_are_refused(make, placeholder, message):
    text = f"# Title\n{{{{streets/labels\n| Baseline | 8}}}}\n\n{placeholder}\n"
    with pytest.raises(ValueError, match=".*".join(map(re.escape, message.split(" … ")))) as error:
        filled(text, make())
    assert str(error.value).startswith("text.md, line 5: ")


def test_comments_over_several_lines_are_for_people(make):
    text = "<!-- Not yet:\ntable: streets/labels\n-->\n"
    assert filled(text, make()) == text


def test_different_protocols_are_refused(make):
    experiments = make([*ENTRIES, entry("depth=transfer", 16, 0, 30.0, protocol="synthia-16")])
    with pytest.raises(ValueError, match="text.md, line 2: .*different protocols: cityscapes-19.*; synthia-16"):
        filled("\n<!-- table: streets/labels -->", experiments)


@pytest.mark.parametrize(
    "entries, message",
    [
        ([ENTRIES[0], {}], "streets.json, run 2 is damaged: KeyError"),
        ([ENTRIES[0] | {"miou": "30"}], "run 1 is damaged"),
        ([ENTRIES[0] | {"miou": math.nan}], "run 1 is damaged: .*nan is not finite"),
        ([ENTRIES[0], ENTRIES[1], ENTRIES[0]], "run 3 is a duplicate"),
        (None, "must contain experiment, command, runs"),
    ],
)
def test_damaged_records_are_named(write, entries, message):
    with pytest.raises(ValueError, match=message):
        read_records(write(entries))


def test_other_damaged_files_are_named(write, tmp_path):
    with pytest.raises(ValueError, match="streets.json belongs to the experiment 'camvid'"):
        read_records(write([], "camvid"))
    path = tmp_path / "streets.json"
    path.write_text('{"experiment')
    with pytest.raises(ValueError, match="streets.json is not valid JSON"):
        read_records(path)
    path.write_text('{"clips": [{"name": "A"}]}')
    with pytest.raises(ValueError, match="streets.json, clip 1 is damaged: KeyError"):
        read_clips(path)


def test_clips(tmp_path, make):
    clip = {"name": "A", "frames": "100 at 5 Hz", "scores": {"photometric": 0.07}, "panels": "results/a.jpg"}
    clip |= {"config": CONFIG, "command": "python main.py", "minutes": 3.2, "device": "1 x A", "commit": "abc1234"}
    clip |= {"date": "2026-11-28"}
    path = tmp_path / "video.json"
    path.write_text(json.dumps({"clips": [clip, clip | {"name": "B", "scores": {"epe_px": 1.5}}]}))
    page = filled("<!-- video -->", make(), read_clips(path))
    lines = ["| clip | A | B |", "| --- | --- | --- |", "| frames | 100 at 5 Hz | 100 at 5 Hz |"]
    assert page.startswith("\n".join([*lines, "| photometric | 0.070 | – |", "| epe px | – | 1.500 |", ""]))
    assert "![Frames of A and their depth](results/a.jpg)" in page
    assert f"A: {CONFIG}; 3 minutes; device: 1 x A; commit: abc1234; 2026-11-28.\n\n    python main.py" in page
    assert filled("{{video | B | epe px}} pixels.", make(), read_clips(path)) == "1.500 pixels."
    with pytest.raises(
        ValueError, match="text.md, line 1: unknown score of A: 'photometrik'; did you mean 'photometric'"
    ):
        filled("{{video | A | photometrik}}", make(), read_clips(path))


def test_paragraphs_and_items_with_values_have_new_lines(make):
    value = "{{streets/labels\n| Baseline | 8}}"
    words = "word " * 30
    text = f"As\nit is.\n\nIs\n{value} {words}\nend.\n\n- one\n- two\n  {value} {words}\n- three\n  as it is\n"
    first, second = f"Is 32.0 {words}end.", f"- two 32.0 {words}"
    page = filled(text, make()).splitlines()
    assert page[:3] == ["As", "it is.", ""] and page[-2:] == ["- three", "  as it is"]
    assert page[5:7] == ["", "- one"] and page[8].startswith("  word")
    assert " ".join(page[3:5]) == first and " ".join(line.strip() for line in page[7:9]) == second.strip()
    assert max(map(len, page)) <= 120 and min(len(page[3]), len(page[7])) > 110


def test_plot(make):
    page = fill("<!-- plot: streets/labels -->", make(), [], "text.md")
    assert page.text == "![Curves of this table: A title](results/streets_labels.svg)"
    (curves,) = page.plots.values()
    assert curves == {
        "Baseline": [Point(8, 32.0, 2.0)],
        "Transfer": [Point(8, 29.96, None), Point(0, 50.0, None)],
        "Selected": [Point(0, 50.0, None)],
    }


def test_all_labels_stand_one_step_after_the_largest_number():
    assert positions((8, 16, 64, 0)) == {8: 8.0, 16: 16.0, 64: 64.0, 0: 256.0}
    assert positions((0,)) == {0: 2.0}


@pytest.mark.parametrize("labels", [(8, 16, 0), (8,)])
def test_drawings_are_reproducible_and_tell_what_they_show(labels):
    curves = {f"<{i}>": [Point(n, 30.0 + i, 1.0 if i else None) for n in labels] for i in range(6)}
    svg = draw_learning_curves(curves)
    assert svg == draw_learning_curves(curves) and "dc:date" not in svg
    texts = {element.text for element in xml.etree.ElementTree.fromstring(svg).iter()}
    assert {*curves, *(str(n) if n else "all" for n in labels)} <= texts
    assert drawn_digest(svg) == digest(curves) != digest(curves | {"<5>": [Point(8, 35.1, 1.0)]})
    assert drawn_digest("<svg></svg>") is None


def test_command(tmp_path, capsys):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "text.md").write_text("# Results\n\n<!-- plot: streets/labels -->\n")
    baseline = "mix=supervised,depth=none,multitask=false"
    content = {"experiment": "streets", "command": "python run.py", "runs": [entry(baseline, 8, 0, 30.0)]}
    (folder / "streets.json").write_text(json.dumps(content))
    (folder / "summary.md").write_text("It is {{streets/labels | Supervised baseline | 8}}.\n")
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{write_results.BEGIN}Old.{write_results.END}\n## More\n")

    def run(*arguments):
        status, output = write_results.main(arguments, tmp_path), capsys.readouterr()
        return status, output.out, output.err

    status, _, errors = run("--check")
    assert status == 1 and "RESULTS.md is out of date; run: python scripts/write_results.py" in errors
    assert [path.name for path in folder.iterdir() if path.suffix == ".svg"] == []
    assert run() == (0, "RESULTS.md\nREADME.md\nresults/streets_labels.svg\n", "")
    assert run("--check") == (0, "", "")
    assert (tmp_path / "RESULTS.md").read_text().startswith("<!-- Written by scripts/write_results.py from results/: ")
    assert readme.read_text() == f"# Title\n\n{write_results.BEGIN}It is 30.0.\n{write_results.END}\n## More\n"
    content["runs"][0]["miou"] = 31.0  # stands in the plot alone
    (folder / "streets.json").write_text(json.dumps(content))
    status, _, errors = run("--check")
    assert status == 1 and [line.split()[0] for line in errors.splitlines()] == [
        "README.md",
        "results/streets_labels.svg",
    ]
    readme.write_text("# Title\n")
    status, _, errors = run()
    assert status == 2 and errors.startswith("Error: README.md should have the summary once, between the lines")
    (folder / "text.md").write_text("<!-- plot: streets/label -->\n")
    status, _, errors = run()
    assert status == 2 and errors.startswith("Error: results/text.md, line 1: unknown table: 'streets/label'")
