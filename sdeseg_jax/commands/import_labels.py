"""Imports labels from Label Studio, CVAT or another tool as label files of your own data (`--dataset=folder`).

    sdeseg import-labels --source=my_data --export=export.json
    sdeseg import-labels --source=my_data --export=cvat_export --background=background
    sdeseg import-labels --source=my_data --export=brush_pngs --tasks=export.json --overwrite

--export is one of{layout}
Frames are found by the names of their images: those of sdeseg annotation-package, or those in the folder; Label
Studio's prefixes are ignored. Where shapes overlap, the later one is on top, as CVAT (by z-order) and Label Studio (by
time of drawing) show them. Label Studio's PNG files have no order; there, smaller ones are on top. Pixels that nobody
annotated, and those of a label named "void", are void.

All problems are reported together; then nothing is written. After an import, prepare the folder again (new --output).
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

LISTED = 50
"""Most problems that are listed."""


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    from sdeseg_jax.interop.annotation.tool_exports import LAYOUT

    parser = argparse.ArgumentParser(
        description=__doc__.format(layout=LAYOUT.rstrip()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--source", required=True, type=pathlib.Path, help="your folder, with classes.json")
    parser.add_argument("--export", required=True, type=pathlib.Path, help="file or folder that the tool exported")
    parser.add_argument("--tasks", type=pathlib.Path, help="with Label Studio's PNG files: its JSON export")
    parser.add_argument("--background", help="class of pixels that nobody annotated; default: void")
    parser.add_argument(
        "--order",
        choices=("export", "area"),
        default="export",
        help="which shape is on top where they overlap: the later (default) or the smaller one",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing labels")
    return parser.parse_args(argv)


def print_summary(export, labels, classes) -> None:
    """Prints what was done."""
    print(f"{len(labels.files)} labels are written; {len(labels.unchanged)} existed already and did not change")
    for note in (*labels.notes(), *export.notes):
        print(f"note: {note}")
    if labels.total:
        shares = zip((*classes.names, "void"), (*labels.pixels, labels.total - labels.pixels.sum()), strict=True)
        print("Pixels: " + ", ".join(f"{name} {number / labels.total:.1%}" for name, number in shares))


def main(argv: list[str] | None = None) -> int:
    """Imports one export; returns the exit status."""
    arguments = parse_arguments(argv)
    from sdeseg_jax.config import UserError
    from sdeseg_jax.config.suggestions import nearest
    from sdeseg_jax.data.builders.classes_json import CLASSES_EXAMPLE, read_classes
    from sdeseg_jax.data.builders.folder_frame_names import find_frames
    from sdeseg_jax.interop.annotation.label_files import make_labels
    from sdeseg_jax.interop.annotation.tool_exports import PNG_FILES, read_export
    from sdeseg_jax.storage.atomic_files import atomic_write
    from sdeseg_jax.storage.disk_errors import disk_problem

    tasks = arguments.tasks and arguments.tasks.expanduser()
    source, path = arguments.source.expanduser(), arguments.source.expanduser() / "classes.json"
    try:
        if source.is_dir() and not path.exists():
            raise ValueError(f"{path} is missing. It lists your classes:{CLASSES_EXAMPLE}")
        frames = find_frames(source)
        classes, label_format = read_classes(path, "folder")
        if arguments.background not in (None, *classes.names):
            hint = nearest(arguments.background, classes.names)
            raise ValueError(f"--background={arguments.background} is not a class of {path}{hint}")
        export = read_export(arguments.export.expanduser(), tasks, classes.names, label_format)
        if arguments.background and export.kind == PNG_FILES:
            raise ValueError("--background has no effect: label files have a class for every pixel. Leave it out")
        print(f"Found {export.kind}: {len(export.images)} images")
        options = {"background": arguments.background, "overwrite": arguments.overwrite}
        options["by_area"] = arguments.order == "area"
        labels = make_labels(export, source, frames, classes, label_format, **options)
    except (UserError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if labels.problems:
        more = f"\n… and {len(labels.problems) - LISTED} more" if len(labels.problems) > LISTED else ""
        print("Error: nothing was written:\n" + "\n".join(labels.problems[:LISTED]) + more, file=sys.stderr)
        return 2
    for path, content in labels.files.items():
        try:
            atomic_write(path, content)
        except OSError as error:
            print(f"Error: {path} cannot be written: {disk_problem(error) or error}", file=sys.stderr)
            return 2
    print_summary(export, labels, classes)
    return 0
