"""Writes the frames of a selection to a folder for annotators: images, and files for Label Studio and CVAT.

    sdeseg run --config=folder:stages=select,annotate=50 --workdir=runs/mine \\
      --config.data.data_dir=data
    sdeseg annotation-package --source=my_data --selection=runs/mine/selection/50 --output=to_annotate

    to_annotate/
      images/                     the frames in full size: images are copied, frames of videos extracted
      images.txt                  in the order of choice, separated by tabs: file, its source, and its future label
      contact_sheet.jpg
      label_studio/config.xml     labelling interface: Settings > Labeling Interface > Code
      label_studio/tasks.json     tasks: Import
      cvat/labels.json            labels: the tab "Raw" of a new task's or project's labels
      cvat/images.txt             files, for cvat-cli

Classes and colours come from my_data/classes.json; without it, the tools get no labels. Do not rename the images:
sdeseg import-labels finds the frames by their names.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import sys
import tempfile
from urllib.parse import quote

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--source", required=True, type=pathlib.Path, help="your folder, from which you prepared")
    parser.add_argument(
        "--selection", required=True, type=pathlib.Path, help="selection/<n> of a workdir, or its files.txt"
    )
    parser.add_argument("--output", required=True, type=pathlib.Path, help="new folder for annotators")
    parser.add_argument(
        "--format",
        choices=("jpg", "png"),
        default="jpg",
        help="format of extracted video frames: JPEG of quality 95 (default), or lossless PNG",
    )
    parser.add_argument(
        "--url",
        help="address of the images' folder on a server, for Label Studio; default: a folder on Label Studio's disk",
    )
    return parser.parse_args(argv)


def write_tools(folder: pathlib.Path, names: list[str], url: str, classes) -> None:
    """Writes the files to import in Label Studio and CVAT.

    Args:
      folder: of the package.
      names: of image files, in order.
      url: their prefix for Label Studio.
      classes: `ClassMap`, or None for no labels.
    """
    from sdeseg_jax.interop.annotation import cvat, label_studio
    from sdeseg_jax.interop.annotation.package_writer import tool_labels
    from sdeseg_jax.storage.atomic_files import atomic_write

    atomic_write(folder / "label_studio/tasks.json", json.dumps(label_studio.tasks(names, url), indent=1) + "\n")
    atomic_write(folder / "cvat/images.txt", "".join(f"images/{name}\n" for name in names))
    if classes is not None:
        labels = tool_labels(classes)
        atomic_write(folder / "label_studio/config.xml", label_studio.labeling_config(labels))
        atomic_write(folder / "cvat/labels.json", json.dumps(cvat.raw_labels(labels), indent=1) + "\n")


def next_steps(output: pathlib.Path, url: str | None) -> str:
    """Returns instructions for the package."""
    start = "label-studio start"
    if not url:
        start = (
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true \\\n  LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="
            f"{shlex.quote(str(output.parent))} {start}\n"
            f"  Settings > Cloud Storage > Add Source Storage > Local Files: {output}/images, not synced;"
        )
    return (
        f"Label Studio: {start}\n"
        "  label_studio/config.xml into Settings > Labeling Interface > Code; then import label_studio/tasks.json\n"
        f"CVAT: cd {shlex.quote(str(output))}\n"
        f"  cvat-cli task create {shlex.quote(output.name)} --labels cvat/labels.json local $(cat cvat/images.txt)\n"
        "Then: sdeseg import-labels --source=... --export=..."
    )


def main(argv: list[str] | None = None) -> int:
    """Writes one package; returns the exit status."""
    arguments = parse_arguments(argv)
    from sdeseg_jax.config import UserError
    from sdeseg_jax.data.builders.classes_json import read_classes
    from sdeseg_jax.data.builders.folder_frame_names import find_frames
    from sdeseg_jax.interop.annotation.package_writer import chosen_frames, export_frames
    from sdeseg_jax.storage.atomic_files import TEMPORARY
    from sdeseg_jax.storage.disk_errors import disk_problem

    source, output = arguments.source.expanduser(), arguments.output.expanduser().absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        print(f"Error: --output={output} is not empty; remove it or name another folder", file=sys.stderr)
        return 2
    url = arguments.url if arguments.url else f"/data/local-files/?d={quote(output.name)}/images/"
    folder = None
    try:
        frames = chosen_frames(arguments.selection.expanduser(), find_frames(source), source)
        path = source / "classes.json"
        classes = read_classes(path, "folder")[0] if path.exists() else None
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = pathlib.Path(tempfile.mkdtemp(TEMPORARY, f"{output.name}.", output.parent))  # renamed when complete
        folder.chmod(0o755)
        names = export_frames(frames, folder, arguments.format)
        write_tools(folder, names, url if url.endswith(("/", "=")) else f"{url}/", classes)
        os.replace(folder, output)
        folder = None
    except (UserError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Error: {output} cannot be written: {disk_problem(error) or error}", file=sys.stderr)
        return 2
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(names)} images are in {output}")
    if classes is None:
        print(f"note: {path} is missing, so there are no labels for the tools; create it and write the package again")
    print(next_steps(output, arguments.url))
    return 0
