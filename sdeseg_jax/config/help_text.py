"""What `--help` prints: jobs, configs with their arguments, flags and examples; or the docstring of one config file."""

import ast
import inspect
import pathlib
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from absl import flags

from sdeseg_jax.config.errors import UserError
from sdeseg_jax.config.setting import Setting
from sdeseg_jax.config.suggestions import nearest
from sdeseg_jax.config.table import SETTINGS

WIDTH = 100
"""Columns that nothing is wider than, but for words that are."""

COLUMN = 26
"""Where descriptions begin."""

COMMAND = "python -m sdeseg_jax.main"

HELP = ("help", "helpshort", "h", "?")
"""Flags that ask for help, without their dashes."""

SETTING = "--config.SETTING=…"
SETTING_HELP = (
    "Any setting of a config: --config.segmentation.steps=1000. docs/settings.md lists them. One that is true or false "
    "may be named alone for true: --config.model.remat."
)

HELP_CONFIG = "help-config"
HELP_CONFIG_HELP = "What a setting or a section of settings does, and its values: --help-config segmentation.mix"

EXAMPLES = {
    "The whole method on a laptop's CPU, with no download:": "--config=configs/streets.py --workdir=runs/streets",
    "One stage of it, with other settings:":
        "--config=configs/streets.py:labels=60 --workdir=runs/streets_60 --job=baseline "
        "--config.segmentation.steps=2000",
    "Your own data, as scripts/prepare_data.py stored it in data/:":
        "--config=configs/folder.py:size=small --workdir=runs/mine --config.data.data_dir=data",
}  # fmt: skip


def is_wanted(argv: Sequence[str]) -> bool:
    """Whether a command line asks for help, or says nothing at all."""
    names = [one.lstrip("-").partition("=")[0] for one in argv[1:] if one[:1] == "-"]
    return len(argv) < 2 or any(one in (*HELP, HELP_CONFIG) for one in names)


def help_text(config: str | None, jobs: Mapping[str, str], options: Iterable[flags.Flag]) -> str:
    """The text of `--help`.

    Args:
      config: value of `--config`, whose docstring it is then; None for an overview.
      jobs: name -> what it does.
      options: flags of the command line.

    Raises:
      OSError: there is no such config file.
    """
    if config:
        return _of_config(pathlib.Path(config.partition(":")[0]))
    examples = [line for what, flags_ in EXAMPLES.items() for line in (f"  {what}", *_command(f"{COMMAND} {flags_}"))]
    parts = [
        "Semantic segmentation from driving video with few labels, helped by depth learned from the video.",
        "\n".join(
            _command(f"{COMMAND} --config=FILE[:ARGUMENTS] --workdir=FOLDER [--job=JOB] [--config.SETTING=VALUE]")
        ),
        "\n".join(["Examples:", *examples]),
        "\n".join(["Jobs, what --job names:", *(_entry(name, text) for name, text in jobs.items())]),
        "\n".join(_configs()),
        "\n".join(
            [
                "Flags:",
                *(_entry(*_flag(one)) for one in options if "." not in one.name),
                _entry(SETTING, SETTING_HELP),
                _entry(f"--{HELP_CONFIG} SETTING", HELP_CONFIG_HELP),
            ]
        ),
    ]
    return "\n\n".join(parts)


def of_settings(key: str) -> str:
    """The text of `--help-config`: a setting, or all settings of a section.

    Args:
      key: "segmentation.mix" or "segmentation"; "config." may stand before it.

    Raises:
      UserError: there is neither a setting nor a section of that name; the nearest is given.
    """
    key = key.removeprefix("--").removeprefix("config.")
    found = [one for one in SETTINGS.values() if f"{one.key}.".startswith(f"{key}.")]
    if not found:
        names = {".".join(parts[:n]) for parts in (k.split(".") for k in SETTINGS) for n in range(1, len(parts) + 1)}
        raise UserError(f"--{HELP_CONFIG} {key}: no such setting or section{nearest(key, names)}")
    return "\n\n".join("\n".join(_of_setting(one)) for one in found)


def _of_setting(setting: Setting) -> Iterator[str]:
    yield f"--config.{setting.key}"
    facts = {"": setting.help, "default": repr(setting.default), "values": setting.allowed()}
    facts["stages"] = ", ".join(setting.stages)
    if setting.holds_options:
        facts = {"": setting.help}
    for name, text in facts.items():
        yield from textwrap.wrap(
            f"{name}: {text}" if name else text, WIDTH, initial_indent="  ", subsequent_indent="    "
        )


def plain(message: str) -> str:
    """A message of absl about a flag in plain words."""
    if found := re.fullmatch(r"flag (--[^=]+=.*?): \('Non-boolean argument to boolean flag', .*\)", message):
        return f"{found[1]}: should be true or false"
    if found := re.match(r"Unknown command line flag '(config\.[\w.]+)'", message):
        return f"--{found[1]} is a setting of a config file: name one, --config=configs/streets.py for example"
    return message


def _of_config(path: pathlib.Path) -> str:
    text = ast.get_docstring(_parsed(path)) or f"{path} has no docstring that would tell of its arguments."
    more = [f"{SETTING}: {SETTING_HELP}", f"`{COMMAND} --help` lists jobs, other configs and flags."]
    return "\n".join([*_rewrapped(text), "", *(line for one in more for line in _wrapped([one]))])


def _parsed(path: pathlib.Path) -> ast.Module:
    """A Python file, which is not run; nothing of one with errors in it. Raises OSError if it cannot be read."""
    try:
        return ast.parse(path.read_text())
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def experiments(folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """The config files in a folder, those that define `get_config`, with their docstrings."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        tree = _parsed(path)
        if any(isinstance(node, ast.FunctionDef) and node.name == "get_config" for node in tree.body):
            found[path] = ast.get_docstring(tree) or ""
    return found


def argument_names(text: str) -> list[str]:
    """Names of the arguments that a config's docstring lists: lines such as `  labels=N   annotated frames`."""
    listed = re.findall(r"^  (\w+(?:=\w+)?(?:, \w+)*)(?:  |$)", text, re.MULTILINE)
    return [name.partition("=")[0] for one in listed for name in one.split(", ")]


def _configs() -> list[str]:
    own = pathlib.Path(__file__).parents[2] / "configs"
    folder = next((one for one in (pathlib.Path("configs"), own) if experiments(one)), None)
    if folder is None:
        return textwrap.wrap(
            "Configs, what --config names, are in the folder configs/ of the project's repository, which is not part "
            "of the installed package: call from the repository.", WIDTH,
        )  # fmt: skip
    where = "" if folder != own else f" (call from {own.parent})"
    lines = [f"Configs, what --config names{where}:"]
    for path, text in experiments(folder).items():
        lines.append(_entry(f"configs/{path.name}", text.partition("\n")[0]))
        if names := argument_names(text):
            lines.append(_entry("", f"Arguments: {', '.join(names)}"))
    return [*lines, f"  All about one: {COMMAND} --config=configs/streets.py --help"]


def _flag(flag: flags.Flag) -> tuple[str, str]:
    """A flag as it is written, and what it does."""
    values = "|".join(flag.parser.enum_values) if isinstance(flag, flags.EnumFlag) else "…"
    help_ = re.sub(r"^<.*?>: |;\s+repeat this option.*", "", flag.help, flags=re.DOTALL)  # what absl adds
    default = f" (default: {flag.default})" if flag.default else ""
    return f"--{flag.name}" + ("" if flag.boolean else f"={values}"), help_ + default


def _entry(name: str, text: str) -> str:
    """A name and what it means in the columns to the right; below it where the name is too long."""
    lines = textwrap.wrap(text, WIDTH - COLUMN, break_on_hyphens=False, break_long_words=False) or [""]
    if len(name) + 3 > COLUMN:
        lines.insert(0, "")
    return "\n".join(
        f"{start:<{COLUMN}}{line}".rstrip()
        for start, line in zip([f"  {name}", *[""] * len(lines)], lines, strict=False)
    )


def _command(words: str) -> list[str]:
    """A command in lines that a shell takes for one."""
    lines = textwrap.wrap(" ".join(words.split()), WIDTH - 8, break_on_hyphens=False, break_long_words=False)
    ends = [" \\"] * (len(lines) - 1) + [""]
    return [
        f"{'    ' if i == 0 else '      '}{line}{end}" for i, (line, end) in enumerate(zip(lines, ends, strict=True))
    ]


def _rewrapped(text: str) -> Iterator[str]:
    """The lines of a docstring, paragraphs that are wider than `WIDTH` wrapped anew.

    Commands are indented by four columns, the arguments of a list by two, and what they mean by 16.
    """
    group: list[str] = []
    for line in [*inspect.cleandoc(text).splitlines(), None]:
        indent, before = _indent(line or ""), _indent(group[0]) if group else 0
        goes_on = line and group and (group[-1].endswith("\\") or (indent == 0 == before) or (indent > before == 2))
        if group and not goes_on:
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
    return textwrap.wrap(
        joined, WIDTH, subsequent_indent=" " * 16 * (_indent(group[0]) == 2), break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
