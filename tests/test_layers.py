"""The rooms of the package and the arrows between them: who may import whom."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]

SCIENCE = ("training", "adaptation", "mixing", "selection", "depth", "models")

# Top floor first: a room imports rooms below it only, and of those just the ones named.
MAY_IMPORT = {
    "__init__": "inference",
    "__main__": "commands",
    "commands": ("configs jobs runs interop report data training mixing adaptation depth models config storage"),
    "main": "jobs runs training config",
    "jobs": (
        "inference runs interop report drawing evaluation data training mixing selection depth models config storage"
    ),
    "inference": "runs interop drawing data training models config storage",
    "runs": "interop evaluation data training selection models config storage",
    "interop": "report data training models config storage",
    "report": "drawing evaluation data training adaptation mixing config",
    "evaluation": "data",
    "data": "drawing adaptation config storage",
    "training": "adaptation mixing selection depth models config storage",
    "adaptation": "mixing",
    "mixing": "models",
    "configs": "selection models config",
    "selection": "",
    "depth": "",
    "models": "config",
    "drawing": "",
    "storage": "",
    "config": "",
}

MAY_IMPORT_TENSORFLOW = ("data", "interop", "commands")
"""The input pipeline, the export to SavedModel, and the benchmark of the pipeline."""


def imports(package: pathlib.Path) -> Iterator[tuple[str, str, str]]:
    """Yields (room, imported module, "file:line") for every import below a package's folder, also within functions."""
    configs = package.parent / "configs"  # `sdeseg_jax.configs`
    for path in (*sorted(package.rglob("*.py")), *sorted(configs.glob("*.py"))):
        inside = path.relative_to(package.parent)
        room = "configs" if path.parent == configs else inside.parts[1].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == package.name:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module]
            for module in modules:
                yield room, module, f"{inside}:{node.lineno}"


def arrows(package: pathlib.Path) -> dict[tuple[str, str], list[str]]:
    """(room, room that it imports) -> places."""
    found: dict[tuple[str, str], list[str]] = {}
    for room, module, place in imports(package):
        top, _, rest = module.partition(".")
        target = rest.partition(".")[0]
        if top == package.name and target not in ("", room, "__version__"):
            found.setdefault((room, target), []).append(place)
    return found


def wrong_arrows(package: pathlib.Path) -> list[str]:
    """A line for each import that the table does not allow."""
    return [
        f"{place}: {room} must not import {target}"
        for (room, target), places in arrows(package).items()
        if target not in MAY_IMPORT.get(room, "").split()
        for place in places
    ]


def test_rooms_import_only_what_the_table_allows():
    wrong = wrong_arrows(ROOT / "sdeseg_jax")
    assert not wrong, "\n".join(wrong)


def test_the_table_is_the_house_as_it_is():
    """No room without a row, no arrow that is not there, none that runs up."""
    package, rows = ROOT / "sdeseg_jax", list(MAY_IMPORT)
    rooms = {path.name.removesuffix(".py") for path in package.iterdir() if path.name != "__pycache__"}
    assert rooms == set(rows)
    allowed = {(room, target) for room, targets in MAY_IMPORT.items() for target in targets.split()}
    assert allowed <= set(arrows(package)), f"not needed: {sorted(allowed - set(arrows(package)))}"
    for room, target in allowed:
        assert rows.index(room) < rows.index(target), f"{room} stands below {target}"


def test_tensorflow_stays_where_it_belongs():
    wrong = [
        f"{place}: {room} must not import {module}"
        for room, module, place in imports(ROOT / "sdeseg_jax")
        if module.partition(".")[0] in ("tensorflow", "tensorflow_datasets") and room not in MAY_IMPORT_TENSORFLOW
    ]
    assert not wrong, "\n".join(wrong)


def test_science_does_not_know_the_data():
    """Their whole way down is free of TensorFlow; `tests/test_imports.py` imports them without it."""
    for room in SCIENCE:
        assert "data" not in MAY_IMPORT[room].split()


@pytest.mark.parametrize(
    "line",
    ["from pkg.jobs import train", "import pkg.jobs.train", "from pkg import jobs", "def f():\n    import pkg.jobs"],
)
def test_a_wrong_import_is_named_with_its_place(tmp_path, line):
    folder = tmp_path / "pkg" / "depth"
    folder.mkdir(parents=True)
    (folder / "warping.py").write_text(f"import numpy\n{line}\n")
    number = 3 if "def" in line else 2
    assert wrong_arrows(tmp_path / "pkg") == [f"pkg/depth/warping.py:{number}: depth must not import jobs"]
