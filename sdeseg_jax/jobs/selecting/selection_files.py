"""What `select_labels` leaves for people, in `selection/<n>/`: pictures, class frequencies, files to annotate."""

import logging
import os
import pathlib
import shutil

import numpy as np

from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.report.selection_pictures import (
    contact_sheet,
    draw_class_frequency,
    draw_criterion,
    draw_feature_space,
    thumbnail,
)
from sdeseg_jax.runs.selection_candidates import Candidates
from sdeseg_jax.runs.stage_records import write_json
from sdeseg_jax.selection.annotation_schedule import METHODS
from sdeseg_jax.selection.class_frequency import frequency_ratios
from sdeseg_jax.selection.pooled_features import principal_components

BATCH = 8
"""Frames that are decoded at once."""


class SelectionFiles:
    """Writes a folder for every step; what several steps need is computed once."""

    def __init__(self, config, dataset: FrameDataset, found: Candidates, folder: pathlib.Path):
        self._config, self._dataset, self._found, self._folder = config, dataset, found, folder
        self._points = self._counts = None
        self._thumbnails: dict[int, np.ndarray] = {}

    def write(self, size: int, picks: list[dict], features: np.ndarray | None) -> None:
        """Writes the folder of one step, unless it is there.

        Args:
          size: frames that are chosen after it.
          picks: of these, as in `<n>.json`.
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
            draw_criterion(folder / "criterion.png", picks, what)
        if features is not None:
            if self._points is None:
                self._points = principal_components(features, 2, self._config.seed)
            places = np.searchsorted(self._found.frames, chosen)
            draw_feature_space(folder / "feature_space.png", self._points, self._found.existing, places)
        self._class_frequency(folder, chosen)
        if self._dataset.name == "folder":
            self._files_to_annotate(folder, picks)
        os.replace(folder, target)

    def _contact_sheet(self, folder: pathlib.Path, chosen: np.ndarray, picks: list[dict]) -> None:
        new, done = np.array([i for i in chosen if i not in self._thumbnails], np.int64), 0
        for batch, count in evaluation_batches(self._dataset, new, BATCH, ("image",)) if len(new) else ():
            for index, image in zip(new[done : done + count], batch["image"], strict=False):
                self._thumbnails[index] = thumbnail(image)
            done += count
        images = [self._thumbnails[i] for i in chosen]
        captions = [
            f"{rank} {pick['id']}" + ("" if pick["criterion"] is None else f" {pick['criterion']:.3g}")
            for rank, pick in enumerate(picks, 1)
        ]
        contact_sheet(images, captions).save(folder / "contact_sheet.jpg", quality=90)

    def _class_frequency(self, folder: pathlib.Path, chosen: np.ndarray) -> None:
        """Compares with random selections, where all candidates have labels."""
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
            draw_class_frequency(folder / "class_frequency.png", names, ratios)

    def _files_to_annotate(self, folder: pathlib.Path, picks: list[dict]) -> None:
        """A line per frame: the image, a tab, and what its label should be called, as in the user's folder."""
        files = self._dataset.files
        if not files:
            logging.getLogger(__name__).warning(
                "this dataset was prepared by an older version, which did not keep file names: files.txt holds ids; "
                "prepare the folder again for names"
            )
        lines = ("\t".join(files[pick["id"]]) if pick["id"] in files else pick["id"] for pick in picks)
        (folder / "files.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def count_classes(dataset: FrameDataset, frames: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class per frame, int64 [N, C]; void left out.

    Args:
      frames: record indices of annotated frames.
    """
    counts = []
    for batch, number in evaluation_batches(dataset, frames, BATCH, ("label",)):
        counts += [np.bincount(label.ravel(), minlength=256)[:classes] for label in batch["label"][:number]]
    return np.array(counts, np.int64).reshape(-1, classes)
