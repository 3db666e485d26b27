"""Job `predict`: label maps, overlays and disparity of any images and videos, from a run or an exported file."""

import logging
import pathlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import jax
import numpy as np

from sdeseg_jax.config import ConfigError, UserError
from sdeseg_jax.data.prediction_inputs import Medium, estimate_frames, find_media, frame_rate, read_frames
from sdeseg_jax.data.video_files import VideoWriter
from sdeseg_jax.inference.prediction_files import (
    ENDINGS,
    LOCK,
    NEEDS,
    SUMMARY,
    PredictionFiles,
    for_video,
    open_output,
    remove_leftovers,
    side_by_side_path,
)
from sdeseg_jax.inference.predictors import ExportedPredictor, RunPredictor, predict_batch
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.storage.disk_errors import disk_problem
from sdeseg_jax.storage.process_lock import InUseError, only_process
from sdeseg_jax.training.progress_line import ProgressLine
from sdeseg_jax.training.replication import round_up

log = logging.getLogger(__name__)

SAVE_EVERY, SHOW_EVERY = 30, 2
"""Seconds between saves of the summary, from which a call that is killed resumes (long summaries, which take long to
write, are saved less often), and between updates of the progress line."""

PIXELS_AHEAD = 100e6
"""Pixels of images that wait to be written."""

OPEN_BATCHES = 8
"""Batches filled at the same time, one per image size, where sizes are mixed."""


class UnreadableInputError(UserError):
    """Some images or videos could not be predicted; all others are done."""


def run_job(
    config, workdir: Workdir | None, input: Sequence[str] = (), output: str | None = None, model: str | None = None
) -> None:
    """Predicts.

    Args:
      config: `config.predict` says what is written, `config.evaluation` how images are segmented.
      workdir: of a run; None with an exported file.
      input: images, videos and folders of them.
      output: folder to write to: new, empty, or with earlier predictions of the same model, which are resumed.
      model: folder of an exported file, instead of a workdir.

    Raises:
      UserError, CheckpointError: nothing to predict, no model, or a folder that holds something else.
      UnreadableInputError: at the end, if some inputs could not be read.
    """
    if jax.process_count() > 1:
        raise UserError("--job=predict runs on one host; start it on each host alone, with its own share of the inputs")
    if not output:
        raise UserError("--output is missing: name a folder for the predictions")
    folder = pathlib.Path(output).expanduser()
    media, left_out = find_media(input, results=SUMMARY)
    predictor = ExportedPredictor(config, model) if model else RunPredictor(config, workdir)
    kinds = tuple(kind for kind in config.predict.files if NEEDS[kind] in predictor.outputs)
    if not kinds:
        written = ", ".join(kind for kind, needed in NEEDS.items() if needed in predictor.outputs)
        raise ConfigError("predict.files", f"the model predicts none of {config.predict.files}; it can write {written}")
    if unwanted := sorted(set(config.predict.files) - set(kinds)):
        log.info("not written, because the model does not predict what they show: %s", ", ".join(unwanted))
    if left_out:
        listed = ", ".join(f"{number} {suffix}" for suffix, number in left_out.most_common())
        log.warning("left out, because their endings are not those of images or videos: %s", listed)
    described = {**predictor.metadata, "files": list(kinds), "inference": predictor.inference}
    open_output(folder, described)  # before the lock, which must not be left in a folder with other content
    try:
        with only_process(folder / LOCK):
            earlier = open_output(folder, described)
            remove_leftovers(folder)
            _Run(config, predictor, folder, kinds, described, earlier.get("media", {})).predict(media)
    except InUseError as error:
        raise UserError(f"--output={folder} is in use by another process; wait, or use another folder") from error


class _Run:
    """A running call of `predict`.

    Attributes:
      entries: name of a medium -> its source, what is done of it, or why it could not be read.
    """

    def __init__(self, config, predictor, folder: pathlib.Path, kinds: tuple[str, ...], described: dict, entries: dict):
        self.entries, self._folder, self._described = entries, folder, described
        self._predictor, self._side_by_side = predictor, config.predict.side_by_side
        self._batch_size, self._threads = round_up(config.predict.batch_size), config.runtime.reader_threads
        self._files = PredictionFiles(folder, kinds, predictor.classes, predictor.metadata.get("depth"))
        self._failures: dict[pathlib.Path, str] = {}
        self._resumed: set[str] = set()  # names of unchanged media that an earlier call began
        self._done = self._total = 0
        self._saved_at = self._shown_at = time.monotonic()
        self._interval = SAVE_EVERY

    def predict(self, media: Sequence[Medium]) -> None:
        """Predicts all media; raises UnreadableInputError at the end if some could not be read."""
        todo = self._find_unfinished(media)
        self._save(finished=False)
        self._total = estimate_frames(todo)
        self._progress = ProgressLine("predict", self._total)
        try:
            with self._files:
                self._predict_images([medium for medium in todo if not medium.is_video])
                for medium in todo:
                    if medium.is_video:
                        self._predict_video(medium)
        except BaseException:
            with suppress(OSError):  # e.g. of a full disk: the first error says more
                self._save(finished=False)
            raise
        self._save(finished=True)
        self._progress.show(self._total)
        if self._failures:
            listed = "\n  ".join(f"{path}: {why}" for path, why in self._failures.items())
            rest = "all others are done, in" if len(self._failures) < len(media) else "nothing is in"
            raise UnreadableInputError(
                f"{len(self._failures)} of {len(media)} inputs could not be predicted; {rest} {self._folder} "
                f"({SUMMARY} lists all):\n  {listed}"
            )
        frames = sum(self.entries[medium.name]["frames"] for medium in media)
        print(f"Predictions of {frames} images are in {self._folder}, described in its {SUMMARY}", flush=True)

    def _find_unfinished(self, media: Sequence[Medium]) -> list[Medium]:
        """Returns media that are not done yet. Raises UserError if a name is taken by another file's predictions."""
        todo, taken = [], []
        for medium in media:
            identity, entry = medium.identity(), self.entries.get(medium.name)
            if entry and entry["source"] != identity["source"]:
                taken.append(f"{medium.name}: {entry['source']} there, {identity['source']} now")
            unchanged = entry and all(entry.get(key) == value for key, value in identity.items())
            if not unchanged:
                self.entries[medium.name] = {**identity, "frames": 0, "complete": False}
            elif self._is_done(medium, entry):
                continue
            entry = self.entries[medium.name]
            entry.pop("error", None)
            if unchanged and not (medium.is_video and self._side_by_side):
                self._resumed.add(medium.name)
            entry["complete"] = False
            todo.append(medium)
        if taken:
            more = f"\n  … and {len(taken) - 5} more" if len(taken) > 5 else ""
            raise UserError(
                f"--output={self._folder} holds predictions of other files under the same names; use another folder:"
                "\n  " + "\n  ".join(taken[:5]) + more
            )
        return todo

    def _is_done(self, medium: Medium, entry: dict) -> bool:
        names = map(medium.frame_name, range(entry["frames"])) if medium.is_video else [medium.name]
        video = medium.is_video and self._side_by_side and "error" not in entry
        has_video = not video or side_by_side_path(self._folder, medium.name).exists()
        return entry["complete"] and has_video and all(map(self._files.has, names))

    def _save(self, finished: bool) -> None:
        before = time.monotonic()
        endings = {kind: ENDINGS[kind] for kind in self._files.kinds}
        summary = {
            "model": self._described,
            "files": {kind: f"{kind}/<name>{e}, for videos {kind}/<name>/<frame>{e}" for kind, e in endings.items()},
            "sizes": "height, width, in pixels",
            "finished": finished,
            "failed": len(self._failures),
            "media": self.entries,
        }
        write_json(self._folder / SUMMARY, summary)
        self._saved_at = time.monotonic()
        self._interval = max(SAVE_EVERY, 20 * (self._saved_at - before))

    def _predict_images(self, media: Sequence[Medium]) -> None:
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque = deque()  # images that are being written: (medium, sizes, future)

            def finish(most: int) -> None:
                while len(waiting) > most:
                    medium, sizes, future = waiting.popleft()
                    if self._is_written(medium, future):
                        self.entries[medium.name].update(sizes, frames=1, complete=True)
                    self._step(1)

            for batch in self._batches(self._prepared(media, pool)):
                outputs = self._outputs([inputs for *_, inputs in batch], batch[0][1].shape[:2])
                for (medium, image, inputs), one in zip(batch, outputs, strict=False):
                    waiting.append((medium, _sizes(image, inputs), self._files.write(medium.name, image, one)))
                finish(self._count_ahead(batch[0][1]))
            finish(0)

    def _prepared(self, media: Sequence[Medium], pool: ThreadPoolExecutor) -> Iterator[tuple]:
        """Yields (medium, image, network's input), reading and resizing some images ahead."""

        def prepare(medium: Medium):
            image = next(read_frames(medium))
            return image, self._predictor.fit(image)

        waiting: deque = deque()
        for medium in (*media, *[None] * (2 * self._batch_size)):
            if medium is not None:
                waiting.append((medium, pool.submit(prepare, medium)))
                if len(waiting) <= 2 * self._batch_size:
                    continue
            if waiting:
                one, future = waiting.popleft()
                try:
                    yield one, *future.result()
                except ValueError as error:
                    self._fail(one, str(error))
                    self._step(1)

    def _batches(self, items: Iterator[tuple]) -> Iterator[list[tuple]]:
        """Yields items in batches of images of one size; batches of several sizes are filled at the same time."""
        batches: dict[tuple, list] = {}
        for item in items:
            batch = batches.setdefault(item[1].shape, [])
            batch.append(item)
            if len(batch) == self._batch_size:
                yield batches.pop(item[1].shape)
            elif len(batches) > OPEN_BATCHES:
                yield batches.pop(next(iter(batches)))
        yield from batches.values()

    def _predict_video(self, medium: Medium) -> None:
        """Predicts the frames of a video in order, without those that an interrupted call wrote."""
        entry, waiting, video = self.entries[medium.name], deque(), None

        def finish(most: int) -> None:
            while len(waiting) > most:
                frame, future = waiting.popleft()
                if not self._is_written(medium, future):
                    raise _NotWritten
                entry["frames"] = max(entry["frames"], frame + 1)
                if video:
                    video.write(for_video(future.result()))
                self._step(1)

        try:
            with ExitStack() as stack:
                pool = stack.enter_context(ThreadPoolExecutor(self._threads))
                if self._side_by_side:
                    path = side_by_side_path(self._folder, medium.name)
                    path.unlink(missing_ok=True)
                    video = stack.enter_context(VideoWriter(path, frame_rate(medium)))
                for batch in self._clip_batches(medium, pool):
                    inputs = [one.result() for *_, one in batch]
                    outputs = self._outputs(inputs, batch[0][1].shape[:2])
                    entry.update(_sizes(batch[0][1], inputs[0]))
                    for (frame, image, _), one in zip(batch, outputs, strict=False):
                        name = medium.frame_name(frame)
                        written = self._files.write(name, image, one, medium.name, video is not None)
                        waiting.append((frame, written))
                    finish(self._count_ahead(batch[0][1]))
                finish(0)
        except _NotWritten:
            return
        except ValueError as error:
            video = None  # an incomplete side-by-side video is not kept
            with suppress(_NotWritten):
                finish(0)
            self._fail(medium, str(error))
            return
        entry["complete"] = True

    def _clip_batches(self, medium: Medium, pool: ThreadPoolExecutor) -> Iterator[list[tuple]]:
        """Yields batches of (frame number, image, future of the network's input) of a video."""
        batch, notes, entry = [], [], self.entries[medium.name]
        entry.pop("notes", None)
        try:
            for number, image in enumerate(read_frames(medium, notes)):
                if medium.name in self._resumed and self._files.has(medium.frame_name(number)):
                    entry["frames"] = max(entry["frames"], number + 1)
                    self._step(1)
                    continue
                if batch and (len(batch) == self._batch_size or batch[0][1].shape != image.shape):
                    yield batch
                    batch = []
                batch.append((number, image, pool.submit(self._predictor.fit, image)))
        except ValueError:
            if batch:
                yield batch
            raise
        if notes:
            entry["notes"] = notes
            log.warning("%s: %s", medium.path, "; ".join(notes))
        if batch:
            yield batch

    def _outputs(self, inputs: Sequence[np.ndarray], size: tuple[int, int]) -> list[dict[str, np.ndarray]]:
        return predict_batch(self._predictor, inputs, size, self._batch_size)

    def _count_ahead(self, image: np.ndarray) -> int:
        """Returns how many images of this size may wait to be written."""
        return int(min(4 * self._batch_size, PIXELS_AHEAD // (image.shape[0] * image.shape[1])))

    def _is_written(self, medium: Medium, future) -> bool:
        """Waits for the files of an image. An error of these files alone is noted; a full disk ends the call."""
        try:
            future.result()
            return True
        except OSError as error:
            if disk_problem(error):
                raise
            self._fail(medium, f"cannot be written ({error.strerror or error})")
            return False

    def _fail(self, medium: Medium, why: str) -> None:
        self._failures[medium.path] = why
        self.entries[medium.name] |= {"complete": False, "error": why}
        log.warning("%s: %s; the other inputs are predicted", medium.path, why)

    def _step(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._shown_at > SHOW_EVERY:
            self._shown_at = now
            self._progress.show(min(self._done, self._total - 1))  # the total is an estimate
        if now - self._saved_at > self._interval:
            self._save(finished=False)


class _NotWritten(Exception):
    """A frame of a video cannot be written; the error is noted already."""


def _sizes(image: np.ndarray, fitted: np.ndarray) -> dict:
    return {"size": list(image.shape[:2]), "network_input": list(fitted.shape[:2])}
