"""Runs one job: `sdeseg run --config=streets --workdir=runs/streets`, or `python -m sdeseg_jax.main` likewise."""

import functools
import itertools
import logging
import os
import pathlib
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from sdeseg_jax.config import BUILDER_OPTIONS, ConfigError, UserError, help_text, unknown_keys, validate
from sdeseg_jax.config.config_files import find_config
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.jobs import JOBS, load_job
from sdeseg_jax.runs import stored_config
from sdeseg_jax.runs.installed_extras import check_extras, needed_extras
from sdeseg_jax.training.out_of_memory import is_out_of_memory, out_of_memory

config_flags.DEFINE_config_file("config", None, "Config by name or path, arguments after a colon: streets:labels=12")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for everything that the run writes.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Several hosts: address and port of host 0, e.g. node1:1234. Run the same command on each."
)
_HOSTS = flags.DEFINE_integer("hosts", None, "Several hosts: their number.", lower_bound=1)
_HOST = flags.DEFINE_integer("host", None, "Several hosts: number of this one, from 0.", lower_bound=0)
_CLUSTER = flags.DEFINE_bool("cluster", False, "Several hosts: detect the rest (TPU pod, SLURM, Open MPI, Kubernetes).")
_JOIN_TIMEOUT = flags.DEFINE_integer("join_timeout", 300, "Several hosts: joining timeout in seconds.", lower_bound=1)
_CHANGED = flags.DEFINE_enum(
    "changed",
    "refuse",
    ("refuse", "keep", "redo"),
    "What to do with stages in the workdir that were made with another config: refuse to run, keep them as they are, "
    "or redo them (the old ones are moved to outdated/).",
)
_PLATFORM = flags.DEFINE_string("platform", None, "Device: cpu, cuda, rocm or tpu; by default the best available.")
flags.DEFINE_multi_string("input", [], "predict: an image, a video, or a folder of them; may be given several times.")
flags.DEFINE_string("output", None, "predict: folder for the predictions.")
flags.DEFINE_string("model", None, "predict: folder of an exported model, instead of --workdir: runs/mine/export/onnx.")
_JOB = flags.DEFINE_string("job", "pipeline", "What to do; --help lists the jobs.")


def _fail(message: str) -> None:
    print(f"Error: {message}", file=sys.stderr, flush=True)
    if "sdeseg_jax.training.multi_host" in sys.modules:
        sys.modules["sdeseg_jax.training.multi_host"].leave(2)
    sys.exit(2)


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses the command line; ends the program if it, or the config file with its arguments, is wrong."""
    if help_text.is_wanted(argv):
        _show_help(argv)
    try:
        arguments = flags.FLAGS(_with_found_config(_with_stored_config(argv)))
        if flags.FLAGS.config is not None:
            flags.FLAGS.config.keys()  # raises OSError if the file could not be loaded
        return arguments
    except (OSError, ImportError) as error:
        _fail(_unloadable(argv, error))
    except UserError as error:  # in the config file's arguments
        _fail(str(error))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        _fail("\n  ".join(map(str, _unknown_settings(argv))) or help_text.simplify_flag_error(str(error)))


def _show_help(argv: Sequence[str]) -> None:
    own = flags.FLAGS.get_key_flags_for_module(sys.modules[__name__])
    try:
        if keys := _values(argv, help_text.HELP_CONFIG):
            text = help_text.settings_help(keys[-1])
        else:
            jobs = {name: job.help for name, job in JOBS.items()}
            config, job = ((_values(argv, name) or [None])[-1] for name in ("config", "job"))
            if job in JOBS and not config:
                others = {name for one in JOBS.values() for name in one.flags} - {*JOBS[job].flags} | {"job"}
                taken = [one for one in own if one.name not in others]
                text = help_text.job_help(job, JOBS[job].help, JOBS[job].flags, JOBS[job].section, taken)
            else:
                text = help_text.help_text(config, jobs, own)
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(_unloadable(argv, error))
    try:
        print(text, flush=True)
    except BrokenPipeError:  # head, or a pager that was closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit()


def _with_stored_config(argv: Sequence[str]) -> list[str]:
    """Adds a missing --config: that of the earlier run in the workdir or, with --model, the default config."""
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


def _with_found_config(argv: Sequence[str]) -> list[str]:
    """Replaces the name of a config by its path. Raises UserError if there is no such file."""
    argv = list(argv)
    for at, one in enumerate(argv):
        if one in ("--config", "-config") and at + 1 < len(argv):
            argv[at + 1] = find_config(argv[at + 1])
        elif one.startswith(("--config=", "-config=")):
            flag, _, value = one.partition("=")
            argv[at] = f"{flag}={find_config(value)}"
    return argv


def _values(argv: Sequence[str], name: str) -> list[str]:
    """Returns the values of a flag on a command line, from `--name=value` and from `--name value`."""
    spaced = [after for one, after in itertools.pairwise(argv) if one in (f"--{name}", f"-{name}")]
    joined = [one.partition("=")[2] for one in argv if one.startswith((f"--{name}=", f"-{name}="))]
    return joined + spaced


def _unknown_settings(argv: Sequence[str]) -> list[ConfigError]:
    """Returns errors for settings on the command line that do not exist, including options of the dataset."""
    given = (one.lstrip("-") for one in argv if one.startswith(("--config.", "-config.")))
    keys = [one.removeprefix("config.").partition("=")[0] for one in given]
    errors, config = unknown_keys(keys), flags.FLAGS["config"].value
    for section in BUILDER_OPTIONS if config is not None else ():
        options = functools.reduce(lambda node, name: node[name], section.split("."), config)
        for name in (key.removeprefix(f"{section}.") for key in keys if key.startswith(f"{section}.")):
            if name not in options:
                errors.append(ConfigError(f"{section}.{name}", f"no such option{nearest(name, options)}"))
    return errors


def _unloadable(argv: Sequence[str], error: Exception) -> str:
    """Returns the message for a config file that cannot be loaded."""
    value = next(iter(_values(argv, "config")), "")
    return f"--config={value.partition(':')[0]} cannot be loaded: {error.__cause__ or error}"


def _setup_logging() -> None:
    """Shows the messages of this package, but not those of libraries, which log every step."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # logs at every start; TensorFlow only reads data
    # Libraries also log the errors that they raise, once or twice, with stack traces.
    absl_logging.set_verbosity(absl_logging.FATAL)
    sys.unraisablehook = _show_unraisable
    own = logging.getLogger("sdeseg_jax")
    own.setLevel(logging.INFO)
    own.propagate = False
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    own.addHandler(handler)


def _show_unraisable(unraisable) -> None:
    """Shows uncatchable errors, except of TensorStore's closed event loop, which only follow a failed checkpoint."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def _setup_jax(cache_folder: str) -> None:
    """Sets the persistent compilation cache and the requested platform."""
    import jax

    if _PLATFORM.value:
        jax.config.update("jax_platforms", _PLATFORM.value)
    cache = cache_folder or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "sdeseg_jax", "xla")
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(cache).expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _join_hosts() -> None:
    """Joins the other hosts if flags name any; all but the first then log only warnings and errors."""
    named = [_COORDINATOR.value, _HOSTS.value, _HOST.value]
    if not _CLUSTER.value and named == [None, None, None]:
        return
    if not _CLUSTER.value and None in named:
        _fail("--coordinator, --hosts and --host go together; give all three, or --cluster to detect what is missing")
    if _HOSTS.value is not None and _HOST.value is not None and _HOST.value >= _HOSTS.value:
        _fail(f"--host={_HOST.value} should be less than --hosts={_HOSTS.value}; hosts are numbered from 0")
    from sdeseg_jax.training import multi_host

    try:
        multi_host.join(*named, _JOIN_TIMEOUT.value)
    except ValueError as error:
        _fail(str(error))
    if not multi_host.is_first():
        logging.getLogger("sdeseg_jax").setLevel(logging.WARNING)


def _check_devices() -> None:
    """Ends the program if the requested devices are missing."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter for names that JAX does not know
        setting = f"--platform={_PLATFORM.value}" if _PLATFORM.value else "JAX_PLATFORMS"
        reason = f" ({error})" if str(error) else ""
        _fail(
            f"{setting}: the device does not exist, or JAX was installed without support for it{reason}. Valid: cpu, "
            'cuda (pip install "sdeseg-jax[cuda]"; nvidia-smi should list the device), tpu and rocm.'
        )


def _run(config, job: str, workdir) -> None:
    """Runs the checks before a job, the job, and its summary on the console."""
    from sdeseg_jax.runs import end_of_job_table, preflight

    arguments = {name: flags.FLAGS[name].value for name in JOBS[job].flags}
    if not JOBS[job].reads_only and job != "pipeline":  # which checks all its stages itself
        preflight.check(config, workdir, (job,))
        workdir.save_config(config)
    load_job(job)(config, workdir, **arguments)
    end_of_job_table.show(config, workdir, job)


def _check_job_flags() -> None:
    """Ends the program if a flag of one job is given to another."""
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
        stored = "a --workdir of an earlier run has its own"
        if _WORKDIR.value:
            stored = f"--workdir={_WORKDIR.value} has no {stored_config.FILE} of an earlier run"
        _fail(f"--config is missing, e.g. --config=streets (--help lists all); {stored}")
    if flags.FLAGS.model and _WORKDIR.value:
        _fail("--model and --workdir both name a model to predict with; leave one out")
    if not _WORKDIR.value and not flags.FLAGS.model:
        _fail("--workdir is missing, e.g. --workdir=runs/streets, the folder for everything that the run writes")
    if _JOB.value not in JOBS:
        _fail(f"--job={_JOB.value}: no such job{nearest(_JOB.value, JOBS)}")
    _check_job_flags()
    try:
        validate(config)
        check_extras(needed_extras(config, _JOB.value))
    except UserError as error:
        _fail(str(error))

    _setup_logging()
    _setup_jax(config.runtime.compilation_cache)
    _join_hosts()
    import jax

    from sdeseg_jax.runs.workdir import Workdir, disk_error
    from sdeseg_jax.training import multi_host, stop_signals
    from sdeseg_jax.training.checkpoints import CheckpointError
    from sdeseg_jax.training.collapse_alarms import CollapseError
    from sdeseg_jax.training.training_loop import NonFiniteLossError

    _check_devices()
    stop_signals.install()
    workdir = Workdir(_WORKDIR.value, config, _CHANGED.value) if _WORKDIR.value else None
    try:
        with nullcontext() if JOBS[_JOB.value].reads_only else workdir.locked():
            _run(config, _JOB.value, workdir)
    except stop_signals.Stopped as stopped:
        print(f"\n{stopped}" if sys.stderr.isatty() else stopped, file=sys.stderr)  # below the progress line
        multi_host.meet_to_leave()
        stop_signals.end(stop_signals.STOPPED)
    except (UserError, CheckpointError, NonFiniteLossError, CollapseError) as error:
        _fail(str(error))
    except OSError as error:
        if not (message := disk_error(error, workdir)):
            raise
        _fail(message)
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _fail(out_of_memory(config, error))


def start() -> None:
    """Runs the command line in `sys.argv`; ends the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(75))  # nothing has started; later, training.stop_signals handles them
    app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
    start()
