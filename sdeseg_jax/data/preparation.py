"""Turns a downloaded folder into a dataset for training; called by `sdeseg prepare`."""

import contextlib
import io
import pathlib
import tempfile
from collections import Counter

import tensorflow_datasets as tfds

from sdeseg_jax.data.builders.base_builder import FramesConfig
from sdeseg_jax.data.builders.label_statistics import LabelStatistics, class_table, label_warnings
from sdeseg_jax.data.builders.neighbour_counts import neighbour_lines
from sdeseg_jax.data.builders.registry import builder_class
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.preview_sheet import write_preview
from sdeseg_jax.storage.disk_errors import FULL_DISK, disk_problem


def prepare_from_source(
    name: str,
    /,  # `options` may hold a name, too
    source: str,
    output: str,
    size: tuple[int, int] = (0, 0),
    on_corrupt: str = "error",
    processes: int = 0,
    **options,
) -> tuple[tfds.core.DatasetBuilder, bool]:
    """Prepares a dataset, resumes an interrupted preparation, or finds that it is prepared.

    Args:
      name: of the builder.
      source: the downloaded folder.
      output: folder of prepared datasets; this one goes to `<output>/<name>/<variant>/<version>`.
      size: (width, height) of the stored images; zeros: the dataset's usual size.
      on_corrupt: "error" or "skip" files that cannot be decoded, and labels whose size differs from their image's.
      processes: worker processes that decode and encode; 0: one per CPU.
      options: further arguments of the builder's config, if it has its own config class.

    Returns:
      The builder, and whether the dataset was prepared before.

    Raises:
      SourceError: the source is faulty, or files cannot be read or written (a full disk, for example). Finished shards
        are kept for the next call.
    """
    cls = builder_class(name)
    config_class = getattr(cls, "CONFIG", FramesConfig)
    try:
        config = config_class(
            width=size[0], height=size[1], source=source, on_corrupt=on_corrupt, processes=processes, **options
        )
    except TypeError as error:
        raise SourceError(f"dataset '{name}' has no option {', '.join(sorted(options))}") from error
    root = pathlib.Path(output).expanduser().absolute()
    try:
        builder = cls(config=config, data_dir=root)
        if builder.is_prepared():
            return builder, True
        # TFDS prints that it downloads, and needs a folder for it.
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as unused:
            builder.download_and_prepare(download_dir=unused)
        write_preview(builder)
    except OSError as error:
        raise SourceError(_file_problem(root, error)) from error
    return builder, False


def _file_problem(root: pathlib.Path, error: OSError) -> str:
    """Returns why reading or writing failed, in words."""
    problem = disk_problem(error)
    if problem == FULL_DISK:
        return f"The disk of {root} is full. Free some space and run the same command again; what was finished is kept."
    place, reason = pathlib.Path(error.filename or root), problem or error.strerror or error
    if place.is_relative_to(root) or root.is_relative_to(place):
        return f"--output={root} cannot be written to: {place}: {reason}. Name a folder that can be written to."
    return f"{place} cannot be read or written: {reason}"


def report_text(found: dict) -> str:
    """Returns the report of a preparation as text, from the metadata's `found`; warnings come last.

    Datasets that were prepared before classes and neighbours were counted have neither in `found`.
    """
    lines, labels = [], {}
    for split, counts in found["splits"].items():
        clips = "1 clip" if counts["clips"] == 1 else f"{counts['clips']} clips"
        context = f", {counts['only_neighbours']} only as neighbours" if counts["only_neighbours"] else ""
        lines.append(
            f"{split}: {counts['images']} images of {clips}, {counts['labels']} with a label, "
            f"{counts['without_neighbours']} without both neighbours{context}"
        )
        kinds = Counter(kind for kind, _ in counts["skipped"])
        for kind, number in kinds.items():
            what = "labels left out, their images kept" if "label" in kind else "images left out"
            lines.append(f"  {what} ({kind}): {number}")
            messages = [message for one, message in counts["skipped"] if one == kind]
            lines += [f"    {message}" for message in messages[:10]]
            if number > 10:
                lines.append(f"    … and {number - 10} more; all are in the dataset's metadata.json")
        lines += neighbour_lines(counts["neighbours"]) if "neighbours" in counts else []
        if "pixels" in counts:
            labels[split] = LabelStatistics(**counts["pixels"])
    lines += [f"note: {note}" for note in found["notes"]]
    names, warnings = found.get("classes", ()), [*found.get("warnings", ())]
    if labels:
        lines += class_table(labels, names)
        warnings += label_warnings(labels, names)
    elif any(counts["labels"] for counts in found["splits"].values()):
        lines.append("note: it was prepared before pixels per class were counted; preparing it again counts them")
    lines += [f"WARNING: {warning}" for warning in warnings]
    return "\n".join(lines)
