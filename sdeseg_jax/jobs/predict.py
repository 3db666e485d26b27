"""Job `predict`: label maps, overlays and disparity of any images and videos, by a run or an exported file."""

import logging
import pathlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import jax
import numpy as np

from sdeseg_jax.config import ConfigError
from sdeseg_jax.data.media import Medium, count_frames, find_media, read_frames
from sdeseg_jax.jobs.prediction_files import (
    NEEDS,
    SUMMARY,
    PredictionFiles,
    SideBySide,
    open_output,
    remove_leftovers,
    side_by_side_path,
)
from sdeseg_jax.jobs.predictors import ExportedPredictor, RunPredictor
from sdeseg_jax.jobs.workdir import Workdir, write_json
from sdeseg_jax.training.logging import ProgressLine
from sdeseg_jax.training.replication import round_up

log = logging.getLogger(__name__)

SAVE_EVERY = 30
"""Seconds after which the list of what is done is saved, for a call that is killed to go on from."""


class UnreadableInputError(ConfigError):
    """Some images or videos could not be read; all others are done."""


def run_job(
    config, workdir: Workdir | None, input: Sequence[str] = (), output: str | None = None, model: str | None = None
) -> None:
    """Predicts.

    Args:
      config: `config.predict` says what is written, `config.evaluation` how images are segmented.
      workdir: of a run; None with an exported file.
      input: images, videos and folders of them.
      output: folder to write to: new, empty, or with earlier predictions of the same model, which are gone on with.
      model: folder of an exported file, instead of a workdir.

    Raises:
      ConfigError, CheckpointError: nothing to predict, no model, or a folder that holds something else.
      UnreadableInputError: at the end, if something could not be read.
    """
    if jax.process_count() > 1:
        raise ConfigError("--job=predict runs on one host; give each of several hosts its own share of the inputs")
    if not output:
        raise ConfigError("--output is missing: a folder for the predictions")
    folder = pathlib.Path(output).expanduser()
    media = find_media(input, skipped=folder)
    predictor = ExportedPredictor(model) if model else RunPredictor(config, workdir)
    kinds = tuple(kind for kind in config.predict.files if NEEDS[kind] in predictor.outputs)
    if left_out := sorted(set(config.predict.files) - set(kinds)):
        log.info("not written, for the model predicts nothing to make them of: %s", ", ".join(left_out))
    if not kinds:
        raise ConfigError(f"config.predict.files: nothing of {config.predict.files} is predicted by this model")
    described = {**predictor.metadata, "files": list(kinds), "inference": predictor.inference}
    earlier = open_output(folder, described)
    remove_leftovers(folder)
    run = _Run(config, predictor, folder, kinds, described)
    run.entries.update({name: entry for name, entry in earlier.get("images", {}).items() if "error" not in entry})
    run.go(media)


class _Run:
    """A call of `predict` that is under way.

    Attributes:
      entries: name of an image -> its source and sizes, or why it could not be read.
    """

    def __init__(self, config, predictor, folder: pathlib.Path, kinds: tuple[str, ...], described: dict):
        self._config, self._predictor, self._folder, self._described = config, predictor, folder, described
        self._batch_size = round_up(config.predict.batch_size)
        self._files = PredictionFiles(folder, kinds, predictor.classes, predictor.metadata.get("depth"))
        self._kinds, self.entries, self._failures = kinds, {}, []
        self._progress, self._done = None, 0

    def go(self, media: Sequence[Medium]) -> None:
        self._save(finished=False)
        self._progress = ProgressLine("predict", count_frames(media))
        try:
            with self._files:
                for group in _groups(media):
                    self._predict(group)
        except BaseException:
            with suppress(OSError):  # of a full disk, say: what led here says more
                self._save(finished=False)
            raise
        self._save(finished=True)
        if self._failures:
            listed = "\n  ".join(f"{path}: {why}" for path, why in self._failures)
            raise UnreadableInputError(
                f"{len(self._failures)} of {len(media)} inputs could not be read; everything else is done, in "
                f"{self._folder} ({SUMMARY} lists both):\n  {listed}"
            )
        print(f"{len(self.entries)} images are in {self._folder}; {SUMMARY} says what they are", flush=True)

    def _save(self, finished: bool) -> None:
        self._saved_at = time.monotonic()
        content = {"model": self._described, "finished": finished and not self._failures}
        write_json(self._folder / SUMMARY, {**content, "images": self.entries})

    def _predict(self, media: Sequence[Medium]) -> None:
        """Predicts a video, or images that follow each other."""
        with ExitStack() as stack:
            video = None
            if media[0].is_video and self._config.predict.side_by_side:
                if self._is_done(media[0], side_by_side_path(self._folder, media[0])):
                    return
                try:
                    video = stack.enter_context(SideBySide(self._folder, media[0]))
                except ValueError as error:
                    self._fail(media[0], error)
                    return
            pool = stack.enter_context(ThreadPoolExecutor(self._config.runtime.reader_threads))
            for batch in self._batches(self._prepared(media, pool, skip=video is None)):
                mediums, names, images, inputs = zip(*batch, strict=True)
                outputs = self._predictor.predict(_filled(inputs, self._batch_size), images[0].shape[:2])
                for i, (medium, name, image) in enumerate(zip(mediums, names, images, strict=True)):
                    one = {key: values[i] for key, values in outputs.items()}
                    panels = self._files.write(name, image, one, medium.name if medium.is_video else "")
                    if video:
                        video.write(panels)
                    self.entries[name] = {"source": str(medium.path), **_sizes(image, inputs[i])}
                self._step(len(batch))

    def _is_done(self, medium: Medium, path: pathlib.Path) -> bool:
        frames = [name for name in self.entries if name.startswith(f"{medium.name}/")]
        done = path.exists() and bool(frames) and all(map(self._files.has, frames))
        if done:
            self._step(len(frames))
        return done

    def _prepared(self, media: Sequence[Medium], pool: ThreadPoolExecutor, skip: bool) -> Iterator[tuple]:
        """Yields (medium, name, image, network's input), reading and resizing some images ahead.

        Args:
          skip: leave out what is there already.
        """
        waiting: list = []
        ahead = 2 * self._batch_size

        def ready():
            medium, future = waiting.pop(0)
            try:
                for name, image in future.result():
                    yield medium, name, image, self._predictor.fit(image)
            except ValueError as error:
                self._fail(medium, error)

        for medium in media:
            if medium.is_video:
                yield from self._video_frames(medium, pool, skip)
            elif skip and medium.name in self.entries and self._files.has(medium.name):
                self._step(1)
            else:
                waiting.append((medium, pool.submit(lambda one: [(one.name, next(read_frames(one)))], medium)))
            while len(waiting) > ahead:
                yield from ready()
        while waiting:
            yield from ready()

    def _video_frames(self, medium: Medium, pool: ThreadPoolExecutor, skip: bool) -> Iterator[tuple]:
        """The frames of a video; they are decoded in order, and resized in threads."""
        waiting: list = []
        try:
            for number, image in enumerate(read_frames(medium)):
                name = medium.frame_name(number)
                if skip and name in self.entries and self._files.has(name):
                    self._step(1)
                    continue
                waiting.append((medium, name, image, pool.submit(self._predictor.fit, image)))
                if len(waiting) > self._batch_size:
                    *frame, fitted = waiting.pop(0)
                    yield *frame, fitted.result()
        except ValueError as error:
            self._fail(medium, error)
        for *frame, fitted in waiting:
            yield *frame, fitted.result()

    def _batches(self, items: Iterator[tuple]) -> Iterator[list[tuple]]:
        """Items in batches whose images have one size."""
        batch: list = []
        for item in items:
            if batch and (len(batch) == self._batch_size or item[2].shape != batch[0][2].shape):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch

    def _fail(self, medium: Medium, error: ValueError) -> None:
        self._failures.append((medium.path, error))
        self.entries[medium.name] = {"source": str(medium.path), "error": str(error)}
        log.warning("%s: %s; the rest goes on", medium.path, error)
        self._step(1)

    def _step(self, count: int) -> None:
        self._done += count
        self._progress.show(self._done)
        if time.monotonic() - self._saved_at > SAVE_EVERY:
            self._save(finished=False)


def _groups(media: Sequence[Medium]) -> Iterator[list[Medium]]:
    """Videos one by one, images between them together."""
    group: list = []
    for medium in media:
        if group and (medium.is_video or group[0].is_video):
            yield group
            group = []
        group.append(medium)
    if group:
        yield group


def _filled(inputs: Sequence[np.ndarray], size: int) -> np.ndarray:
    """A batch of always the same size: programs are compiled for one."""
    return np.stack([*inputs, *[inputs[-1]] * (size - len(inputs))])


def _sizes(image: np.ndarray, fitted: np.ndarray) -> dict:
    return {"size": list(image.shape[:2]), "network_input": list(fitted.shape[:2])}
