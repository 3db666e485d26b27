"""What `select_labels` writes for people, in `selection/<n>/`: pictures, class frequencies, files to annotate."""

import logging
import os
import pathlib
import shutil

import numpy as np

from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.report import selection_pictures
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.selection_candidates import Candidates
from sdeseg_jax.selection.annotation_schedule import METHODS
from sdeseg_jax.selection.class_frequency import frequency_ratios
from sdeseg_jax.selection.pooled_features import principal_components

BATCH = 8
"""Frames that are decoded at once."""


class SelectionFiles:
    """Writes a folder for every step, and computes what several steps need once."""

    def __init__(self, config, dataset: FrameDataset, found: Candidates, folder: pathlib.Path):
        self._config, self._dataset, self._found, self._folder = config, dataset, found, folder
        self._points = self._counts = None
        self._thumbnails: dict[int, np.ndarray] = {}

    def write(self, size: int, picks: list[dict], features: np.ndarray | None) -> None:
        """Writes the folder of one step, unless it exists.

        Args:
          size: number of frames chosen up to this step.
          picks: their entries in `<n>.json`.
          features: [N, D] of all frames of the selection; None if it uses none.
        """
        target = self._folder / str(size)
        if target.is_dir():
            return
        folder = target.with_name(f"{size}.tmp")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        chosen = self._dataset.positions([pick["id"] for pick in picks])
        self._contact_sheet(folder, chosen, picks)
        if any(pick["criterion"] is not None for pick in picks):
            method = METHODS[self._config.selection.method]
            weight = f" × {self._config.selection.error_weight:g}" if method.coverage else ""
            what = "entropy" if method.score == "entropy" else f"depth student error{weight}"
            selection_pictures.draw_criterion(folder / "criterion.png", picks, what)
        if features is not None:
            if self._points is None:
                self._points = principal_components(features, 2, self._config.seed)
            path, places = folder / "feature_space.png", np.searchsorted(self._found.frames, chosen)
            selection_pictures.draw_feature_space(path, self._points, self._found.existing, places)
        self._class_frequency(folder, chosen)
        if self._dataset.name == "folder":
            self._files_to_annotate(folder, picks)
        os.replace(folder, target)

    def _contact_sheet(self, folder: pathlib.Path, chosen: np.ndarray, picks: list[dict]) -> None:
        new, done = np.array([i for i in chosen if i not in self._thumbnails], np.int64), 0
        for batch, count in evaluation_batches(self._dataset, new, BATCH, ("image",)) if len(new) else ():
            for index, image in zip(new[done : done + count], batch["image"], strict=False):
                self._thumbnails[index] = selection_pictures.thumbnail(image)
            done += count
        images = [self._thumbnails[i] for i in chosen]
        captions = [
            f"{rank} {pick['id']}" + ("" if pick["criterion"] is None else f" {pick['criterion']:.3g}")
            for rank, pick in enumerate(picks, 1)
        ]
        selection_pictures.contact_sheet(images, captions).save(folder / "contact_sheet.jpg", quality=90)

    def _class_frequency(self, folder: pathlib.Path, chosen: np.ndarray) -> None:
        """Compares class frequencies with those of random selections, if all candidates have labels."""
        candidates = self._found.frames[self._found.is_candidate]
        if self._dataset.classes is None or not np.isin(candidates, self._dataset.index.labeled).all():
            return
        names = self._dataset.classes.names
        if self._counts is None:
            self._counts = count_classes(self._dataset, candidates, len(names))
        ratios = frequency_ratios(self._counts, np.searchsorted(candidates, chosen), self._config.seed)
        table = {
            name: {key: None if np.isnan(values[i]) else float(values[i]) for key, values in ratios.items()}
            for i, name in enumerate(names)
        }
        write_json(folder / "class_frequency.json", {"protocol": self._dataset.classes.protocol, "classes": table})
        if np.isfinite(ratios["ratio"]).any():
            selection_pictures.draw_class_frequency(folder / "class_frequency.png", names, ratios)

    def _files_to_annotate(self, folder: pathlib.Path, picks: list[dict]) -> None:
        """Writes a line per frame: its image, a tab, and the file name for its label, as in the user's folder."""
        files = self._dataset.files
        if not files:
            logging.getLogger(__name__).warning(
                "this dataset was prepared by an older version, which did not store file names, so files.txt holds "
                "ids; prepare the folder again to get file names"
            )
        lines = ("\t".join(files[pick["id"]]) if pick["id"] in files else pick["id"] for pick in picks)
        (folder / "files.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def count_classes(dataset: FrameDataset, frames: np.ndarray, classes: int) -> np.ndarray:
    """Returns the number of pixels of each class per frame, int64 [N, C], without void.

    Args:
      frames: record indices of annotated frames.
    """
    counts = []
    for batch, number in evaluation_batches(dataset, frames, BATCH, ("label",)):
        counts += [np.bincount(label.ravel(), minlength=256)[:classes] for label in batch["label"][:number]]
    return np.array(counts, np.int64).reshape(-1, classes)
