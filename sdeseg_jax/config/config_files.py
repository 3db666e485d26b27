"""Config files by path, or by name for those that come with the package: `streets:labels=20`."""

import ast
import pathlib

import sdeseg_jax
from sdeseg_jax.config.errors import UserError
from sdeseg_jax.config.suggestions import nearest

PACKAGE = pathlib.Path(sdeseg_jax.__file__).resolve().parent

FOLDER = next((one for one in (PACKAGE / "configs", PACKAGE.parent / "configs") if one.is_dir()), PACKAGE / "configs")
"""The config files that come with the package: in an installed package, or beside it in a checkout."""


def parse_without_running(path: pathlib.Path) -> ast.Module:
    """Parses a Python file without running it; one with syntax errors counts as empty. Raises OSError."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def config_files(folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """Returns the config files in a folder, those that define `get_config`, with their docstrings."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        tree = parse_without_running(path)
        if any(isinstance(node, ast.FunctionDef) and node.name == "get_config" for node in tree.body):
            found[path] = ast.get_docstring(tree) or ""
    return found


def find_config(value: str) -> str:
    """Returns the value of `--config` with its file as a path that exists.

    Args:
      value: path of a config file, or the name of one that comes with the package, with or without `.py` and a leading
        `configs/`; perhaps followed by a colon and arguments. A file that exists at the path wins.

    Raises:
      UserError: no such file; the message names the nearest.
    """
    file, colon, arguments = value.partition(":")
    path = pathlib.Path(file).expanduser()
    if path.is_file() and path.suffix != ".py":
        example = FOLDER / "streets.py"
        raise UserError(f"--config={file} is not a Python file; a config defines get_config, like {example}")
    if path.is_file():
        return f"{path}{colon}{arguments}"
    shipped = {one.stem: one for one in config_files(FOLDER)}
    if str(path.parent) in (".", "configs") and path.suffix in ("", ".py") and path.stem in shipped:
        return f"{shipped[path.stem]}{colon}{arguments}"
    if not file:
        raise UserError(f"--config={value}: the config's name is missing, e.g. --config=streets{value}")
    if path.is_dir():
        raise UserError(f"--config={file} is a folder; name a config file in it{nearest(file, path.glob('*.py'))}")
    there = [str(one) for one in config_files(path.parent)] if path.suffix else []
    if "/" not in file and not path.suffix:
        there = list(shipped)
    elif not there:
        there = [f"configs/{name}.py" for name in shipped]
    raise UserError(f"--config={file} does not exist{nearest(file, there)}")
