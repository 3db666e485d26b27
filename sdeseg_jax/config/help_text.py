"""The text of `--help`: jobs, configs with their arguments, flags and examples; or the docstring of one config file."""

import ast
import functools
import inspect
import pathlib
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from absl import flags

from sdeseg_jax.config.all_settings import SETTINGS
from sdeseg_jax.config.config_files import FOLDER, config_files, find_config, parse_without_running
from sdeseg_jax.config.errors import UserError
from sdeseg_jax.config.setting import Setting
from sdeseg_jax.config.stage_names import stages_text
from sdeseg_jax.config.suggestions import nearest

WIDTH = 100
"""Maximum line width in columns; only longer words exceed it."""

COLUMN = 26
"""Column at which descriptions begin."""

HELP = ("help", "helpshort", "h", "?")
"""Flags that ask for help, without their dashes."""

SETTING = "--config.SETTING=…"
SETTING_HELP = (
    "Any setting of a config: --config.segmentation.steps=1000. docs/settings.md lists them. A boolean without a value "
    "becomes true: --config.model.remat."
)

HELP_CONFIG = "help-config"
HELP_CONFIG_HELP = "Explains a setting or section, with its allowed values: --help-config segmentation.mix"

EXAMPLES = {
    "The whole method on a laptop's CPU, with no download:": "--config=streets --workdir=runs/streets",
    "One stage, with other settings:": (
        "--config=streets:labels=60 --workdir=runs/streets_60 --job=baseline --config.segmentation.steps=2000"
    ),
    "Your own data, stored in data/ by sdeseg prepare:": (
        "--config=folder:size=small --workdir=runs/mine --config.data.data_dir=data"
    ),
}

_wrap = functools.partial(textwrap.wrap, break_on_hyphens=False, break_long_words=False)


def command() -> str:
    """Returns how this program was called: `sdeseg run`, or `python -m sdeseg_jax.main` where it is not installed."""
    return "sdeseg run" if pathlib.Path(sys.argv[0]).name.startswith("sdeseg") else "python -m sdeseg_jax.main"


def is_wanted(argv: Sequence[str]) -> bool:
    """Whether a command line asks for help or has no arguments."""
    names = [one.lstrip("-").partition("=")[0] for one in argv[1:] if one[:1] == "-"]
    return len(argv) < 2 or any(one in (*HELP, HELP_CONFIG) for one in names)


def help_text(config: str | None, jobs: Mapping[str, str], options: Iterable[flags.Flag]) -> str:
    """Returns the text of `--help`.

    Args:
      config: value of `--config`, to return the docstring of that file; None for an overview.
      jobs: name -> what it does.
      options: flags of the command line.

    Raises:
      OSError, UserError: the config file cannot be read, or does not exist.
    """
    if config:
        return _config_help(pathlib.Path(find_config(config).partition(":")[0]))
    usage = f"{command()} --config=NAME[:ARGUMENTS] --workdir=FOLDER [--job=JOB] [--config.SETTING=VALUE]"
    entries = [_flag(one) for one in options if "." not in one.name]
    entries += [(SETTING, SETTING_HELP), (f"--{HELP_CONFIG} SETTING", HELP_CONFIG_HELP)]
    examples = [line for what, given in EXAMPLES.items() for line in (f"  {what}", *_command(f"{command()} {given}"))]
    parts = [
        ["Semantic segmentation from driving video with few labels, helped by depth learned from the video."],
        _command(usage),
        ["Examples:", *examples],
        ["Jobs (--job):", *(_entry(name, text) for name, text in jobs.items())],
        _configs(),
        ["Flags:", *(_entry(name, text) for name, text in entries)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts)


def job_help(name: str, text: str, own: Sequence[str], section: str, options: Iterable[flags.Flag]) -> str:
    """Returns the text of `sdeseg JOB --help`.

    Args:
      name: of the job.
      text: what it does.
      own: names of the flags that only this job has.
      section: of its settings, or "".
      options: flags of the command line that it takes.
    """
    words = command().removesuffix(" run") + (f" {name.replace('_', '-')}" if "sdeseg" == command()[:6] else "")
    program = words if words.startswith("sdeseg") else f"{words} --job={name}"
    given = [f"--{one}=…" for one in own if one != "model"]
    entries = [_flag(one) for one in sorted(options, key=lambda one: one.name not in own) if "." not in one.name]
    explained = f"{command()} --{HELP_CONFIG} {section or 'SECTION'}"
    settings = f"Any setting can be changed, {SETTING}; `{explained}` explains those of {section or 'a section'}."
    parts = [
        _wrap(f"{name}: {text}", WIDTH),
        _command(" ".join([program, "--workdir=FOLDER", *given, "[--config=NAME[:ARGUMENTS]]"])),
        _wrap("A workdir of an earlier run has its config; --config changes it, or starts a new run.", WIDTH),
        ["Flags:", *(_entry(one, what) for one, what in entries)],
        _wrap(settings, WIDTH),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts)


def settings_help(key: str) -> str:
    """Returns the text of `--help-config` for a setting or for all settings of a section.

    Args:
      key: "segmentation.mix" or "segmentation", with or without a leading "config.".

    Raises:
      UserError: no setting or section has that name; the message names the closest one.
    """
    key = key.removeprefix("--").removeprefix("config.")
    found = [one for one in SETTINGS.values() if f"{one.key}.".startswith(f"{key}.")]
    if not found:
        names = {".".join(parts[:n]) for parts in (k.split(".") for k in SETTINGS) for n in range(1, len(parts) + 1)}
        raise UserError(f"--{HELP_CONFIG} {key}: no such setting or section{nearest(key, names)}")
    return "\n\n".join("\n".join(_setting_help(one)) for one in found)


def _setting_help(setting: Setting) -> Iterator[str]:
    yield f"--config.{setting.key}"
    facts = {"": setting.help}
    if not setting.holds_options:
        facts |= {"default": repr(setting.default), "values": setting.allowed(), "stages": stages_text(setting.stages)}
    for name, text in facts.items():
        yield from textwrap.wrap(
            f"{name}: {text}" if name else text, WIDTH, initial_indent="  ", subsequent_indent="    "
        )


def simplify_flag_error(message: str) -> str:
    """Rewrites a message of absl about a flag in plain words."""
    if found := re.fullmatch(r"flag (--[^=]+=.*?): \('Non-boolean argument to boolean flag', .*\)", message):
        return f"{found[1]}: should be true or false"
    if found := re.match(r"Unknown command line flag '(config\.[\w.]+)'", message):
        return f"--{found[1]} is a setting of a config file; name the file, e.g. --config=streets"
    return message


def _config_help(path: pathlib.Path) -> str:
    text = ast.get_docstring(parse_without_running(path)) or f"{path} has no docstring that explains its arguments."
    more = [f"{SETTING}: {SETTING_HELP}", f"`{command()} --help` lists jobs, other configs and flags."]
    return "\n".join([*_rewrapped(text), "", *(line for one in more for line in _wrapped([one]))])


def argument_names(text: str) -> list[str]:
    """Returns the names of the arguments that a config's docstring lists in lines such as `  labels=N   a number`."""
    listed = re.findall(r"^  (\w+(?:=\w+)?(?:, \w+)*)(?:  |$)", text, re.MULTILINE)
    return [name.partition("=")[0] for one in listed for name in one.split(", ")]


def _configs() -> list[str]:
    lines = ["Configs (--config=NAME, or the path of a file):"]
    named = {path.stem: text for path, text in config_files(FOLDER).items()}
    local = pathlib.Path("configs")
    if local.resolve() != FOLDER.resolve():
        named |= {str(path): text for path, text in config_files(local).items()}
    for name, text in named.items():
        lines.append(_entry(name, text.partition("\n")[0]))
        if names := argument_names(text):
            lines.append(_entry("", f"Arguments: {', '.join(names)}"))
    return [*lines, f"  More about one: {command()} --config=streets --help"]


def _flag(flag: flags.Flag) -> tuple[str, str]:
    """Returns a flag as it is written, and what it does."""
    values = "|".join(flag.parser.enum_values) if isinstance(flag, flags.EnumFlag) else "…"
    help_ = re.sub(r"^<.*?>: |;\s+repeat this option.*", "", flag.help, flags=re.DOTALL)  # what absl adds
    default = f" (default: {flag.default})" if flag.default else ""
    return f"--{flag.name}" + ("" if flag.boolean else f"={values}"), help_ + default


def _entry(name: str, text: str) -> str:
    """Lays out a name and its description in the columns to the right, or below a name that is too long."""
    start, indent = f"  {name}", " " * COLUMN
    lines = "\n".join(_wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent))
    return f"{start}\n{lines}" if len(start) >= COLUMN else start + lines[len(start) :]


def _command(words: str) -> list[str]:
    """Breaks a command into lines that a shell reads as one."""
    lines = _wrap(" ".join(words.split()), WIDTH - 8)
    return ("    " + " \\\n      ".join(lines)).split("\n")


def _rewrapped(text: str) -> Iterator[str]:
    """Yields the lines of a docstring; paragraphs that are wider than `WIDTH` are wrapped again.

    Commands are indented by 4 columns, the arguments of a list by 2, and their descriptions by 16.
    """
    group: list[str] = []
    for line in [*inspect.cleandoc(text).splitlines(), None]:
        indent, before = _indent(line or ""), _indent(group[0]) if group else 0
        continues = line and group and (group[-1].endswith("\\") or (indent == 0 == before) or (indent > before == 2))
        if group and not continues:
            yield from _wrapped(group)
            group = []
        if line:
            group.append(line)
        elif line is not None:
            yield ""


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _wrapped(group: Sequence[str]) -> list[str]:
    if max(map(len, group)) <= WIDTH:
        return list(group)
    joined = " ".join([group[0], *(line.strip() for line in group[1:])])
    if _indent(group[0]) == 4:
        return _command(joined.replace("\\ ", ""))
    return _wrap(joined, WIDTH, subsequent_indent=" " * 16 * (_indent(group[0]) == 2))
