"""Runs one job: `python -m sdeseg_jax.main --config=configs/streets.py --workdir=runs/streets`."""

import functools
import itertools
import logging
import os
import pathlib
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from sdeseg_jax.config import BUILDER_OPTIONS, ConfigError, UserError, help_text, unknown_keys, validate
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.jobs import JOBS, load_job
from sdeseg_jax.runs import stored_config
from sdeseg_jax.runs.out_of_memory import is_out_of_memory, out_of_memory

config_flags.DEFINE_config_file(
    "config", None, "Experiment, a file of configs/, with arguments after a colon: configs/streets.py:labels=12"
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for everything that is computed.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Several hosts: address and port of host 0, e.g. node1:1234; the same command runs on each."
)
_HOSTS = flags.DEFINE_integer("hosts", None, "Several hosts: how many there are.", lower_bound=1)
_HOST = flags.DEFINE_integer("host", None, "Several hosts: which one this is, from 0.", lower_bound=0)
_CLUSTER = flags.DEFINE_bool(
    "cluster", False, "Several hosts: the rest is found out, on TPU pods, SLURM, Open MPI and Kubernetes."
)
_JOIN_TIMEOUT = flags.DEFINE_integer(
    "join_timeout", 300, "Several hosts: seconds that they wait for each other at the start.", lower_bound=1
)
_CHANGED = flags.DEFINE_enum(
    "changed", "refuse", ("refuse", "keep", "redo"),
    "What to do with stages in the workdir that were made with another config: refuse to go on, keep them as they are, "
    "or redo them (they are moved to outdated/).",
)  # fmt: skip
_PLATFORM = flags.DEFINE_string(
    "platform", None, "Kind of device to run on: cpu, cuda, rocm or tpu; the best that there is if left out."
)
flags.DEFINE_multi_string(
    "input", [], "predict: an image, a video, or a folder of them; it can be given several times."
)
flags.DEFINE_string("output", None, "predict: folder for the predictions.")
flags.DEFINE_string("model", None, "predict: folder of an exported file, instead of --workdir: runs/mine/export/onnx.")
_JOB = flags.DEFINE_string("job", "pipeline", "What to do; --help lists the jobs.")


_SETTING = re.compile(r"--?config\.")
"""Beginning of an argument that gives a setting."""


def _fail(message: str) -> None:
    print(f"Error: {message}", file=sys.stderr, flush=True)
    if "sdeseg_jax.training.multi_host" in sys.modules:
        sys.modules["sdeseg_jax.training.multi_host"].leave(2)
    sys.exit(2)


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses the command line; what is wrong with it, or with the arguments of the config file, ends the program."""
    if help_text.is_wanted(argv):
        _show_help(argv)
    try:
        arguments = flags.FLAGS(_with_stored_config(argv))
        if flags.FLAGS.config is not None:
            flags.FLAGS.config.keys()  # raises OSError where the file could not be loaded
        return arguments
    except (OSError, ImportError) as error:
        _fail(_unloadable(argv, error))
    except UserError as error:  # of the config file's arguments
        _fail(str(error))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        _fail("\n  ".join(map(str, _unknown_settings(argv))) or help_text.plain(str(error)))


def _show_help(argv: Sequence[str]) -> None:
    own = flags.FLAGS.get_key_flags_for_module(sys.modules[__name__])
    try:
        if keys := _values(argv, help_text.HELP_CONFIG):
            text = help_text.of_settings(keys[-1])
        else:
            jobs = {name: job.help for name, job in JOBS.items()}
            text = help_text.help_text(next(iter(_values(argv, "config")), None), jobs, own)
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(_unloadable(argv, error))
    try:
        print(text, flush=True)
    except BrokenPipeError:  # a pager that was left, or head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit()


def _with_stored_config(argv: Sequence[str]) -> list[str]:
    """Without --config, the command gets that of the earlier run in its workdir; with --model, the default one."""
    argv = list(argv)
    if _values(argv, "config"):
        return argv
    workdirs = _values(argv, "workdir")
    file = pathlib.Path(stored_config.__file__)
    if workdirs and (pathlib.Path(workdirs[-1]).expanduser() / stored_config.FILE).exists():
        argv.insert(1, f"--config={file}:{workdirs[-1]}")
    elif _values(argv, "model"):
        argv.insert(1, f"--config={file}")
    return argv


def _values(argv: Sequence[str], name: str) -> list[str]:
    """Values of a flag on a command line, in either of the ways that there are."""
    spaced = [after for one, after in itertools.pairwise(argv) if one in (f"--{name}", f"-{name}")]
    joined = [one.partition("=")[2] for one in argv if one.startswith((f"--{name}=", f"-{name}="))]
    return joined + spaced


def _unknown_settings(argv: Sequence[str]) -> list[ConfigError]:
    """Settings on the command line that do not exist, also options that the config's dataset does not have."""
    given = (one.lstrip("-").removeprefix("config.").partition("=")[0] for one in argv if _SETTING.match(one))
    keys, config = list(given), flags.FLAGS["config"].value
    errors = unknown_keys(keys)
    for section in BUILDER_OPTIONS if config is not None else ():
        options = functools.reduce(lambda node, name: node[name], section.split("."), config)
        for name in (key.removeprefix(f"{section}.") for key in keys if key.startswith(f"{section}.")):
            if name not in options:
                errors.append(ConfigError(f"{section}.{name}", f"no such option{nearest(name, options)}"))
    return errors


def _unloadable(argv: Sequence[str], error: Exception) -> str:
    value = next(iter(_values(argv, "config")), "")
    path = pathlib.Path(value.partition(":")[0])
    if not value or path.exists():
        hint = "; call from the project's folder" if getattr(error, "name", None) == "configs" else ""
        return f"--config={path} cannot be loaded: {error.__cause__ or error}{hint}"
    hint = nearest(path, path.parent.glob("*.py"))
    return f"--config={path}: there is no such file{hint or '; call from the project folder, where configs/ is'}"


def _setup_logging() -> None:
    """Shows this package's messages; libraries, which tell of every step they take, only their errors."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # speaks of itself at every start; TensorFlow only reads data
    # What libraries cannot do is raised as an error, too; they would log it once or twice more, with stack traces.
    absl_logging.set_verbosity(absl_logging.FATAL)
    sys.unraisablehook = _show_unraisable
    own = logging.getLogger("sdeseg_jax")
    own.setLevel(logging.INFO)
    own.propagate = False
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    own.addHandler(handler)


def _show_unraisable(unraisable) -> None:
    """Shows errors that nobody can catch, but for those that follow from one that was raised already.

    A checkpoint that fails leaves TensorStore's callbacks without the loop that they were for.
    """
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def _setup_jax(cache_folder: str) -> None:
    """Persistent compilation cache, and the devices that are asked for."""
    import jax

    if _PLATFORM.value:
        jax.config.update("jax_platforms", _PLATFORM.value)
    cache = cache_folder or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "sdeseg_jax", "xla")
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(cache).expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _join_hosts() -> None:
    """Joins the other hosts where flags say that there are some; all but the first then only speak of trouble."""
    named = [_COORDINATOR.value, _HOSTS.value, _HOST.value]
    if not _CLUSTER.value and named == [None, None, None]:
        return
    if not _CLUSTER.value and None in named:
        _fail("--coordinator, --hosts and --host go together; --cluster finds out what is left out of them")
    if _HOSTS.value is not None and _HOST.value is not None and _HOST.value >= _HOSTS.value:
        _fail(f"--host={_HOST.value}: hosts count from 0, and --hosts={_HOSTS.value}")
    from sdeseg_jax.training import multi_host

    try:
        multi_host.join(*named, _JOIN_TIMEOUT.value)
    except ValueError as error:
        _fail(str(error))
    if not multi_host.is_first():
        logging.getLogger("sdeseg_jax").setLevel(logging.WARNING)


def _check_devices() -> None:
    """Finds the devices; those that are asked for may not be there."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter of names that JAX does not know
        asked = f"--platform={_PLATFORM.value}" if _PLATFORM.value else "JAX_PLATFORMS"
        _fail(
            f"{asked}: there is no such device, or JAX was installed without support for it"
            + (f" ({error})" if str(error) else "")
            + ". There are cpu, cuda (pip install -e .[cuda]; nvidia-smi should list the device), tpu and rocm."
        )


def _run(config, job: str, workdir) -> None:
    """Checks what can be known beforehand, then runs a job."""
    from sdeseg_jax.runs import console_table, preflight

    arguments = {name: flags.FLAGS[name].value for name in JOBS[job].flags}
    if not JOBS[job].reads_only and job != "pipeline":  # which does it with all of its stages
        preflight.check(config, workdir, (job,))
        workdir.save_config(config)
    load_job(job)(config, workdir, **arguments)
    console_table.show(config, workdir, job)


def _check_job_flags() -> None:
    """Flags of one job are of no use to others."""
    for name in {name for job in JOBS.values() for name in job.flags}:
        owners = [job for job, facts in JOBS.items() if name in facts.flags]
        if flags.FLAGS[name].value and _JOB.value not in owners:
            _fail(f"--{name} is for --job={' or '.join(owners)}, not for --job={_JOB.value}")


def main(argv) -> None:
    """Checks flags and config, then runs the job."""
    if len(argv) > 1:
        _fail(f"unexpected argument '{argv[1]}'; flags look like --config=... --workdir=...")
    config = flags.FLAGS.config
    if config is None:
        if _WORKDIR.value:
            _fail(
                f"--workdir={_WORKDIR.value} holds no {stored_config.FILE} of an earlier run, so that --config is "
                "missing, e.g. --config=configs/streets.py"
            )
        _fail(
            "--config is missing, e.g. --config=configs/streets.py (there are more in configs/); a --workdir that was "
            "used before has its own"
        )
    if flags.FLAGS.model and _WORKDIR.value:
        _fail("--model and --workdir both name a model to predict with; leave one out")
    if not _WORKDIR.value and not flags.FLAGS.model:
        _fail("--workdir is missing, e.g. --workdir=runs/streets: everything that is computed goes there")
    if _JOB.value not in JOBS:
        _fail(f"--job={_JOB.value}: no such job{nearest(_JOB.value, JOBS)}")
    _check_job_flags()
    try:
        validate(config)
    except UserError as error:
        _fail(str(error))

    _setup_logging()
    _setup_jax(config.runtime.compilation_cache)
    _join_hosts()
    import jax

    from sdeseg_jax.runs.workdir import Workdir, disk_error
    from sdeseg_jax.training import interruption, multi_host
    from sdeseg_jax.training.alarms import CollapseError
    from sdeseg_jax.training.checkpoints import CheckpointError
    from sdeseg_jax.training.training_loop import NonFiniteLossError

    _check_devices()
    interruption.install()
    workdir = Workdir(_WORKDIR.value, config, _CHANGED.value) if _WORKDIR.value else None
    try:
        with nullcontext() if JOBS[_JOB.value].reads_only else workdir.locked():
            _run(config, _JOB.value, workdir)
    except interruption.Stopped as stopped:
        print(f"\n{stopped}" if sys.stderr.isatty() else stopped, file=sys.stderr)  # below the line of progress
        multi_host.meet_to_leave()
        interruption.end(interruption.STOPPED)
    except (UserError, CheckpointError, NonFiniteLossError, CollapseError) as error:
        _fail(str(error))
    except OSError as error:
        message = disk_error(error, workdir)
        if message is None:
            raise
        _fail(message)
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _fail(out_of_memory(config, error))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(75))  # nothing is begun; see training.interruption for later
    app.run(main, flags_parser=parse_flags)
