"""The page in a real browser, in windows of three widths: nothing is missing, cut off, covered or loaded.

`python tests/report/test_browser.py report/index.html` prints the problems of a report.
"""

import html
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.drawing.disparity_and_error_colors import photo
from sdeseg_jax.report import panels, picture_sections
from sdeseg_jax.report.adaptation_panels import Target, cross_domain_rows, mix_candidates
from sdeseg_jax.report.confusion_section import confusion_section
from sdeseg_jax.report.html_markup import page
from sdeseg_jax.report.report_warnings import alarm_notices, score_notices
from sdeseg_jax.report.run_section import StageFacts, run_section, summary
from sdeseg_jax.report.scores_section import class_scores
from sdeseg_jax.report.selection_pictures import contact_sheet, draw_criterion, thumbnail
from sdeseg_jax.report.training_charts import curves
from sdeseg_jax.training.collapse_alarms import ALARMS

BOUNDS = {alarm.metric: alarm.bound for alarm in ALARMS if alarm.collapse}
WIDTHS = (1240, 800, 375)
PROBE = pathlib.Path(__file__).with_name("probe.js")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
    "--window-size=1300,1000",
    "--dump-dom",
)
COLLECT = """addEventListener("message", ({ data }) => {
  document.getElementById("found").append(JSON.stringify(data) + "\\n");
});"""


def find_chromium() -> str | None:
    names = (os.environ.get("CHROME", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def browse(page: str, folder: pathlib.Path) -> dict[int, dict]:
    """Window width -> {"problems", "sections"} of a page; console messages count as problems.

    The page is shown in frames, because Chromium's windows are at least 500 pixels wide. A policy refuses and reports
    whatever it would load or run.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'nonce-probe'"
    probe = f'<script nonce="probe">{PROBE.read_text()}</script>'
    head = f'<head><meta http-equiv="Content-Security-Policy" content="{policy}">{probe}'
    (folder / "page.html").write_text(page.replace("<head>", head, 1))
    frames = "".join(
        f'<iframe src="page.html" width="{width}" height="900" frameborder="0"></iframe>' for width in WIDTHS
    )
    outer = folder / "outer.html"
    outer.write_text(f'<!DOCTYPE html><pre id="found"></pre><script>{COLLECT}</script>{frames}')
    command = [find_chromium(), *FLAGS, f"--user-data-dir={folder / 'profile'}", outer.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = html.unescape(re.search('<pre id="found">(.*?)</pre>', result.stdout, re.DOTALL)[1]).splitlines()
    found = {one.pop("width"): one for one in map(json.loads, lines)}
    said = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return {width: one | {"problems": one["problems"] + said} for width, one in found.items()}


@pytest.fixture
def full_report(scores, random, tmp_path):
    """(page, anchors) with every section that a report can have."""
    shape = (24, 48)
    images, maps, labels = random.random((2, *shape, 3)), random.random((2, *shape)) + 1, random.integers(0, 19, shape)
    confidence = random.random(shape, np.float32)
    ids = ["train_0001_02_a_rather_long_name", "validation_0002"]
    points = [(50 * i, 1.0 / i) for i in range(1, 30)]
    names = (
        "loss/total",
        "loss/depth",
        "loss/supervised",
        "loss/pseudo_label",
        "pseudo_label/quality",
        "cross_domain/quality",
        *BOUNDS,
    )
    logs = {name: dict.fromkeys(names, points) for name in ("depth", "depth of the source", "method")}
    for name in ("baseline", "method"):
        scores[name]["confusion"] = random.integers(0, 10**6, (19, 19)).tolist()
        scores[name]["confusion"][16] = [0] * 19
    scores["video"] = {"photometric": 0.1, "identity": 0.2, "frames": 8}
    beware = [*score_notices(scores, CITYSCAPES), *alarm_notices(logs, ALARMS)]
    pair = panels.MixedPair(
        tuple(ids), (True, False), images, maps - 1, maps[0] > 1.5, images[0], labels, maps[1] - 1, 0.5
    )
    target = Target(ids[0], True, images[0], labels, confidence, maps[0] - 1)
    source = {"image": images, "label": np.stack([labels] * 2), "disparity": maps - 1}
    mixes = mix_candidates(target, ids, source, "depth", 0.03, 0.968, 19, 0)
    picks = [
        {"criterion": 1 / rank, "diversity": 1 / rank, "uncertainty": None, "step": 5, "id": ids[0]}
        for rank in range(1, 8)
    ]
    contact_sheet([thumbnail(photo(image)) for image in images] * 4, ids * 4).save(tmp_path / "contact_sheet.jpg")
    draw_criterion(tmp_path / "criterion.png", picks, "depth student error")
    facts = {"candidates": 9, "method": "ds_us", "existing": 0, "tied": 0}
    stages = [StageFacts("dataset", None), StageFacts("train", 4000.0, f"python -m x --config={'long/' * 30}", "other")]
    networks = {"baseline": maps, "method": maps}
    rows = [panels.depth_rows(ids, images, maps, maps * 3, 50.0), panels.disparity_rows(ids, images, maps)]
    content = {
        "summary": summary({"Dataset": "streets"}, scores, beware),
        "curves": curves(logs, BOUNDS),
        "classes": class_scores(scores, CITYSCAPES),
        "confusion": confusion_section(scores, CITYSCAPES),
        "depth": picture_sections.depth_section(rows[0], 3.0, 50.0),
        "disparity": picture_sections.disparity_section(rows[1]),
        "selection": picture_sections.selection_section(tmp_path, facts, picks),
        "depthmix": picture_sections.depthmix_section(
            [panels.depthmix_rows(pair, CITYSCAPES)], 0.03, 0.968, "it", CITYSCAPES
        ),
        "adaptation": picture_sections.adaptation_section(
            [cross_domain_rows(target, mixes, CITYSCAPES)], "depth", 0.03, CITYSCAPES
        ),
        "predictions": picture_sections.prediction_section(
            panels.prediction_rows(ids, images, source["label"], networks, CITYSCAPES), CITYSCAPES
        ),
        "missing": picture_sections.missing("Depth", "no /a/very/long/" + "path/" * 40),
        "run": run_section(stages, stages[1].command, {"JAX": "0.10, " * 99}, ids * 10, {"seed": 0, "a": "x" * 300}),
    }
    return page("A report", [(name, f"On {name}", one) for name, one in content.items()]), list(content)


needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="no Chromium; $CHROME names one")


@needs_chromium
def test_report_in_a_browser(full_report, tmp_path):
    text, anchors = full_report
    found = browse(text, tmp_path)
    assert sorted(found) == sorted(WIDTHS)
    for width, one in found.items():
        assert not one["problems"], "\n".join([f"{width} pixels:", *one["problems"]])
        assert one["sections"] == anchors


@needs_chromium
def test_probe_sees_what_is_wrong(tmp_path):
    """Otherwise the test above could not fail."""
    chart = (
        '<svg aria-label="chart"><g clip-path="url(#gone)"><path d="M0 0L90 90" stroke="red"/></g>'
        '<text x="20" y="40">legend</text><text x="22" y="42">other</text><text x="290" y="20">long</text></svg>'
    )
    text = f"""<!DOCTYPE html><html><head></head><body><main><h1>T</h1><h3>skipped</h3><a href="#none">x</a>
      <section id="a"><p>value: nan</p></section><section id="a"></section><img src="data:image/png;base64,xx">
      <table><tr><td>1</td></tr></table><table><tr><th></th></tr></table><img src="https://example.org/x.png" alt="y">
      <p style="width:900px">wide</p>{chart}<script>1</script></main></body></html>"""
    problems = "\n".join(browse(text, tmp_path)[800]["problems"])
    for expected in (
        'says "nan"',
        "ids stand twice: a",
        "#none leads nowhere",
        'image "y" cannot be shown',
        "no alternative text",
        '"skipped" skips a level',
        "table has no headers",
        "header is empty",
        "section a has no height",
        "wants to load https://example.org/x.png",
        "wants to load inline",
        "pixels wide in a window of 800",
        "sticks out",
        "#gone is not in this figure",
        '"legend" lies on "other"',
        '"legend" lies on a curve',
        '"long" is cut off',
        "CONSOLE",
    ):
        assert expected in problems, expected


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for width, one in browse(pathlib.Path(sys.argv[1]).read_text(), pathlib.Path(scratch)).items():
            print(width, one["sections"], *one["problems"], sep="\n  ")
