"""The table of settings: every setting once, and what is made from it."""

import math
import pathlib
import re
import subprocess
import sys

import pytest

from sdeseg_jax.config import SETTINGS, ConfigError, default_config, flatten
from sdeseg_jax.config.help_text import settings_help
from sdeseg_jax.config.reference_page import settings_page
from sdeseg_jax.config.stage_names import STAGES
from sdeseg_jax.jobs import JOBS
from sdeseg_jax.runs.config_per_stage import recorded_settings

ROOT = pathlib.Path(__file__).parents[2]


def test_the_default_config_has_every_setting_once():
    assert sorted(flatten(default_config())) == sorted(SETTINGS)


def test_a_changed_default_config_leaves_the_table_alone():
    config = default_config()
    with config.data.options.unlocked():
        config.data.options.height = 3
    assert "height" not in default_config().data.options


@pytest.mark.parametrize("key", SETTINGS)
def test_each_setting_is_right_in_itself(key):
    one = SETTINGS[key]
    assert one.key == key and one.problem(one.default) is None
    assert one.help[0].isupper() and one.help.endswith(".") and len(one.help) < 200
    assert one.stages and set(one.stages) <= {*STAGES, *JOBS}
    assert set(one.recorded_by or ()) <= set(one.stages)
    assert one.limits is None or one.limits[0] < one.limits[1]
    sections = {name.rpartition(".")[0] for name in SETTINGS} | {name.partition(".")[0] for name in SETTINGS}
    for named in re.findall(r"config\.([a-z_.]*[a-z_])", one.help):
        assert named in SETTINGS or named in sections, named
    assert settings_help(key).startswith(f"--config.{key}\n  ")


@pytest.mark.parametrize(
    "key, value, problem",
    [
        ("depth.steps", 0, "0 should be 1 to 2147483647"),
        ("depth.steps", 1.5, "1.5 should be of type int"),
        ("depth.steps", True, "True should be of type int"),
        ("depth.learning_rate", 1, None),
        ("depth.learning_rate", math.nan, "nan should be 0 to 1000000.0"),
        ("video.share", 0.0, "0.0 should be more than 0 to 1.0"),
        ("model.remat", 1, "1 should be of type bool"),
        ("segmentation.mix", "dpeth", "unknown value 'dpeth'; did you mean 'depth'?"),
        ("predict.files", ("labels", "x"), "unknown value 'x'"),
        ("predict.files", (), "() should have an entry at least"),
        ("data.crop", (96, 100), "(96, 100) should be multiples of 32"),
        ("data.crop", (96,), "(96,) should have 2 entries"),
        ("evaluation.window", (), None),
        ("evaluation.window", (64,), "(64,) should have 2 entries or none"),
        ("evaluation.window", ("64", "64"), "('64', '64') should be of type tuple of int"),
        ("selection.student_steps", ((2, 3), (4, 0)), "((2, 3), (4, 0)) should be 1 to 2147483647"),
        ("selection.student_steps", ((2, "3"),), "((2, '3'),) should be of type tuple of tuple of int"),
        ("data.train_split", "a\0b", "'a\\x00b' contains characters that cannot be printed"),
    ],
)  # fmt: skip
def test_a_value_is_checked_by_itself(key, value, problem):
    found = SETTINGS[key].problem(value)
    assert found == problem or (problem and found.startswith(problem))


def test_the_reference_page_is_up_to_date():
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page()
    for key in SETTINGS:
        assert f"| `{key}`" in settings_page()


def test_the_script_of_the_reference_page_tells_an_outdated_one(tmp_path):
    for path in ("scripts/write_settings_page.py", "docs/settings.md"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text((ROOT / path).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "sdeseg_jax").symlink_to(ROOT / "sdeseg_jax")

    def run(*arguments):
        command = [sys.executable, tmp_path / "scripts" / "write_settings_page.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert run("--check").returncode == 0
    with (tmp_path / "docs" / "settings.md").open("a") as page:
        page.write("more\n")
    outdated = run("--check")
    assert outdated.returncode == 1 and "write_settings_page.py" in outdated.stderr
    assert run().returncode == 0 and run("--check").returncode == 0


def test_a_stage_records_what_its_results_depend_on():
    recorded = {stage: set(recorded_settings(stage)) for stage in ("dataset", *STAGES)}
    assert recorded["pretrain_depth"] == recorded["estimate_depth"] < recorded["select_labels"]
    assert {"seed", "depth.steps", "model.width", "video.share", "data.crop"} <= recorded["pretrain_depth"]
    assert not any(key.startswith(("segmentation", "evaluation", "source")) for key in recorded["pretrain_depth"])
    assert recorded["train"] == recorded["baseline"] < recorded["evaluate"]
    assert recorded["evaluate"] - recorded["train"] == {key for key in SETTINGS if key.startswith("evaluation.")}
    for never in ("runtime.log_every", "data.data_dir", "profile", "estimate.batch_size", "baseline.mix"):
        assert not any(never in keys for keys in recorded.values()), never


def test_an_error_carries_its_setting_as_data():
    error = ConfigError("data.variant", "there are several; choose one: {flag}=64x32")
    assert str(error) == "config.data.variant: there are several; choose one: --config.data.variant=64x32"
    moved = error.moved({"data": "video", "data.data_dir": "data.data_dir"})
    assert moved.key == "video.variant" and str(moved).endswith("choose one: --config.video.variant=64x32")
    assert error.moved({"data.name": "video.name", "dat": "x"}) is error
    kept = ConfigError("data.data_dir", "is not a folder").moved({"data": "video", "data.data_dir": "data.data_dir"})
    assert kept.key == "data.data_dir"
