"""The command line: errors give a short message on stderr and exit status 2, without a traceback."""

import pathlib
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest
from absl import flags

from sdeseg_jax import main
from sdeseg_jax.config import UserError, default_config
from sdeseg_jax.runs import preflight
from sdeseg_jax.training import out_of_memory, stop_signals
from sdeseg_jax.training.checkpoints import CheckpointError
from sdeseg_jax.training.replication import smallest_batch
from sdeseg_jax.training.training_loop import NonFiniteLossError

ROOT = pathlib.Path(__file__).parents[1]
STREETS = "--config=configs/streets.py"


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "sdeseg_jax.main", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def assert_short_error(result, message):
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert result.stderr.startswith("Error: ") and "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) <= 4


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--job=train"], "--config is missing, e.g. --config=streets"),
        (["--cluster=maybe"], "Error: --cluster=maybe: should be true or false"),
        ([STREETS], "--workdir is missing, e.g. --workdir=runs/streets"),
        ([STREETS, "--workdir={}", "--job=trian"], "--job=trian: no such job; did you mean 'train'?"),
        ([STREETS, "--workdir={}", "--job=xyz"], "no such job; valid: 'baseline', 'dataset', 'estimate_depth'"),
        ([STREETS, "--wrkdir={}"], "Unknown command line flag 'wrkdir'. Did you mean: workdir"),
        ([STREETS, "--workdir={}", "train"], "unexpected argument 'train'; flags look like --config="),
        (
            ["--config=configs/streetz.py", "--workdir={}"],
            "streetz.py does not exist; did you mean 'configs/streets.py'?",
        ),
        (
            ["--config", "configs/streetz.py", "--workdir={}"],
            "streetz.py does not exist; did you mean 'configs/streets.py'?",
        ),
        (
            ["--config=configs/streetz.py", "--config.seed=1", "--workdir={}"],
            "streetz.py does not exist; did you mean 'configs/streets.py'?",
        ),
        (["--config=configs", "--workdir={}"], "--config=configs is a folder; name a config file in it"),
        ([STREETS + ":lables=3", "--workdir={}"], "config argument 'lables' is unknown; did you mean 'labels'?"),
        ([STREETS + ":labels=few", "--workdir={}"], "config argument 'labels=few' should be labels=<int>"),
        (
            [STREETS, "--config.segmentation.mixx=depth", "--workdir={}"],
            "config.segmentation.mixx: no such setting; did you mean 'segmentation.mix'?",
        ),
        (
            [STREETS, "--config.segmentaton.mix=depth", "--workdir={}"],
            "config.segmentaton.mix: no such setting; did you mean 'segmentation.mix'?",
        ),
        (
            [STREETS, "--config.segmentation.mix=dpeth", "--workdir={}"],
            "config.segmentation.mix: unknown value 'dpeth'; did you mean 'depth'?",
        ),
        ([STREETS, "--config.depth.steps=many", "--workdir={}"], "--config.depth.steps=many: invalid literal for int"),
        (
            [STREETS, "--config.data.crop=96,x", "--workdir={}"],
            "config.data.crop: ('96,x',) should be of type tuple of int",
        ),
        ([STREETS, "--config.profile=5,3", "--workdir={}"], "config.profile: (5, 3) should be two steps"),
        ([STREETS, "--config.data.options.heigth=3", "--workdir={}"], 'Did you mean "height" instead of "heigth"?'),
    ],
)
def test_wrong_command_lines(tmp_path, arguments, message):
    workdir = tmp_path / "run"
    assert_short_error(command(*(argument.format(workdir) for argument in arguments)), message)
    assert not workdir.exists()


def test_error_of_a_job(tmp_path):
    result = command(STREETS + ":size=tiny", f"--workdir={tmp_path}", "--job=estimate_depth")
    assert_short_error(result, "Run it first: --job=pretrain_depth with the same --config and --workdir")


@pytest.fixture
def call_main(monkeypatch, tmp_path):
    """call_main(job function, *flags) calls main in this process and returns its exit status (0 by default)."""

    def call(job, *arguments):
        argv = ["main", f"--config={ROOT / 'configs/streets.py'}", f"--workdir={tmp_path}", *arguments]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(main, "load_job", lambda name: job)
        monkeypatch.setattr(preflight, "check", lambda *_: None)
        monkeypatch.setattr(stop_signals, "install", lambda: None)
        for setup in ("_setup_logging", "_setup_jax"):
            monkeypatch.setattr(main, setup, lambda *_: None)
        try:
            main.main(main.parse_flags(argv))
        except SystemExit as error:
            return error.code
        finally:
            flags.FLAGS.unparse_flags()
        return 0

    return call


@pytest.mark.parametrize("error", [UserError, CheckpointError, NonFiniteLossError])
def test_expected_errors_are_messages(call_main, capsys, error):
    def job(config, workdir):
        raise error("what is wrong and what to do")

    assert call_main(job) == 2
    assert capsys.readouterr().err == "Error: what is wrong and what to do\n"


def test_unexpected_errors_keep_their_traceback(call_main):
    def job(config, workdir):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_main(job)


def test_job_gets_config_with_overrides_and_workdir(call_main, tmp_path):
    seen = []
    assert call_main(lambda *arguments: seen.append(arguments), "--config.depth.steps=7", "--job=train") == 0
    ((config, workdir),) = seen
    assert config.depth.steps == 7 and config.data.name == "streets" and workdir.root == tmp_path


def exhaust_memory(config, workdir):
    """Allocates 64 TiB: the error is XLA's own."""
    jax.jit(lambda: jnp.zeros((2**46,), jnp.uint8) + 1)().block_until_ready()


def test_out_of_memory_names_the_settings_that_help(call_main, capsys):
    assert call_main(exhaust_memory) == 2
    message = capsys.readouterr().err
    assert message.startswith("Error: out of device memory (70368744177664 bytes requested). Try")
    assert "--config.model.remat=True" in message and "--config.model.dtype=bfloat16" in message
    assert "--config.data.crop='(64, 128)': smaller crops than (96, 192)" in message
    assert "--config.segmentation.batch_size=2, --config.depth.batch_size=4" in message
    assert f"not below {smallest_batch(jax.device_count(), True)}: BatchNorm needs two images" in message


def test_out_of_memory_leaves_out_settings_in_use(call_main, capsys):
    flags = ("--config.model.remat=True", "--config.model.dtype=bfloat16")
    assert call_main(exhaust_memory, *flags) == 2
    message = capsys.readouterr().err
    assert "remat" not in message and "bfloat16" not in message and "smaller crops" in message


@pytest.mark.parametrize(
    "text, found",
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.", "(17179869184 bytes req"),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 1.50GiB (rounded to 1610612736).", "(1.50GiB requested"),
        ("RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm.", "memory. Try"),
    ],
)
def test_out_of_memory_messages_of_backends(text, found):
    assert out_of_memory.is_out_of_memory(RuntimeError(text))
    assert found in out_of_memory.out_of_memory(default_config(), RuntimeError(text))


def test_other_errors_of_xla_keep_their_traceback(call_main):
    def job(config, workdir):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: a bug of ours")

    with pytest.raises(jax.errors.JaxRuntimeError):
        call_main(job)


def test_unraisable_errors_are_shown_except_known_ones(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "__unraisablehook__", lambda one: shown.append(str(one.exc_value)))
    for message in ("Event loop is closed", "something else"):
        main._show_unraisable(types.SimpleNamespace(exc_value=RuntimeError(message)))
    assert shown == ["something else"]


def test_profile_takes_two_numbers(call_main):
    seen = []
    assert call_main(lambda config, workdir: seen.append(tuple(config.profile)), "--config.profile=3,5") == 0
    assert seen == [(3, 5)]
