"""Writes frames into ArrayRecord shards that survive an interruption.

Why not TFDS's own writer: for ordered datasets it holds all records in memory before it writes the first (16 GB for
Cityscapes' video), and an interrupted run has to start over.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Collection, Iterator

import numpy as np
from array_record.python import array_record_module
from tqdm import auto as tqdm

from sdeseg_jax.data.builders.frame_encoding import Problem, Task
from sdeseg_jax.data.builders.measured_frame import MeasuredFrame
from sdeseg_jax.data.builders.neighbour_changes import SMALL
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.worker_processes import run_parallel
from sdeseg_jax.storage.atomic_files import atomic_write
from sdeseg_jax.storage.disk_errors import FULL_DISK, disk_problem
from sdeseg_jax.storage.process_lock import InUseError, only_process

FRAMES_PER_SHARD = 512

_SKIP_LABELS = "leave out such labels, but not their frames, with --on_corrupt=skip"
_ADVICE = {
    "corrupt": "Download it again, or leave out such frames with --on_corrupt=skip",
    "corrupt label": f"Download it again, or {_SKIP_LABELS}",
    "label size": "A label needs the size of its image as displayed: export it again at that size (or resize it with "
    f"nearest neighbour), or {_SKIP_LABELS}",
}
"""Kind of a problem -> what to do; files with other problems may not be left out."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
      path: of its records.
      frames: per record [clip, id, number, is_labeled, is_context].
      skipped: per frame or label that is left out [kind of the problem, message].
      pixels: per record {train id: pixels of its label}, None if it is not annotated; keys are strings.
    """

    path: pathlib.Path
    frames: list
    skipped: list
    pixels: list

    def grey(self) -> np.ndarray:
        """Returns the small grey versions of all records, uint8 [N, 32, 64]."""
        return np.load(self.path.with_suffix(".npy"))


@dataclasses.dataclass(frozen=True)
class _Job:
    """Frames of one shard: tasks, and their clips."""

    split: str
    stem: str
    tasks: tuple[Task, ...]
    clips: tuple[str, ...]


def write_shards(
    folder: pathlib.Path,
    splits: dict[str, list[tuple[str, Task]]],
    serialize: Callable[[str, Task, dict], bytes],
    on_corrupt: str,
    processes: int = 0,
    frames_per_shard: int = FRAMES_PER_SHARD,
    label_sizes_vary: bool = False,
) -> dict[str, list[Shard]]:
    """Encodes all frames; resumes an interrupted call.

    Args:
      folder: for shards; those of other source files or settings are removed, the others kept.
      splits: split -> [(clip, task)] in the order of the records.
      serialize: function of (clip, task, encoded frame) that returns the record.
      on_corrupt: "error" or "skip" files that cannot be decoded, and labels whose size differs from their image's; the
        rest of a frame whose label is skipped is kept. Other problems are always errors.
      processes: worker processes that decode and encode; 0: one per CPU.
      frames_per_shard: at most.
      label_sizes_vary: always skip labels whose size differs from their image's.

    Raises:
      SourceError: a frame cannot be stored, the disk is full, or another process writes there. Finished shards stay.
    """
    jobs = [
        _Job(split, f"{split}-{first // frames_per_shard:05d}", tuple(t for _, t in part), tuple(c for c, _ in part))
        for split, frames in splits.items()
        for first in range(0, len(frames), frames_per_shard)
        for part in [frames[first : first + frames_per_shard]]
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with _only_process(folder):
        allowed = _ADVICE.keys() if on_corrupt == "skip" else {"label size"} if label_sizes_vary else set()
        done = {job.stem: shard for job in jobs if (shard := _finished(folder, job, allowed))}
        for path in folder.iterdir():
            if path.name != "lock" and path.stem not in done:
                path.unlink()
        todo = [job for job in jobs if job.stem not in done]
        total = sum(len(job.tasks) for job in jobs)
        initial = total - sum(len(job.tasks) for job in todo)
        with tqdm.tqdm(total=total, initial=initial, unit="frame", desc="preparing", smoothing=0.02) as progress:
            encoded = run_parallel(
                "sdeseg_jax.data.builders.measured_frame:encode_and_measure",
                (task for job in todo for task in job.tasks),
                processes,
                ahead=8,
            )
            with contextlib.closing(encoded):
                for job in todo:
                    done[job.stem] = _write_shard(folder, job, encoded, serialize, allowed, progress)
    return {split: [done[job.stem] for job in jobs if job.split == split] for split in splits}


def _write_shard(
    folder, job: _Job, encoded: Iterator[MeasuredFrame], serialize, allowed: Collection[str], progress
) -> Shard:
    path, temporary = folder / f"{job.stem}.array_record", folder / f"{job.stem}.tmp"
    fingerprint = _fingerprint(job)  # before the files are read: one that changes later makes the shard outdated
    frames, skipped, pixels, grey = [], [], [], []
    try:
        writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1")
        for clip, task in zip(job.clips, job.tasks, strict=True):
            result, frame = next(encoded), task.frame
            progress.update()
            if result.problem is not None:
                skipped.append(_skip_or_raise(result.problem, allowed))
            if result.encoded is None:
                continue
            writer.write(serialize(clip, task, result.encoded))
            is_labeled = frame.label is not None and result.problem is None
            frames.append([clip, frame.id, frame.number, is_labeled, frame.is_context])
            pixels.append(result.pixels and {str(value): number for value, number in result.pixels.items()})
            grey.append(result.grey)
        writer.close()
        np.save(path.with_suffix(".npy"), np.reshape(np.array(grey, np.uint8), (-1, *SMALL[::-1])))
        os.replace(temporary, path)
        facts = {"frames": frames, "skipped": skipped, "fingerprint": fingerprint, "pixels": pixels}
        atomic_write(folder / f"{job.stem}.json", json.dumps(facts))
    except (OSError, RuntimeError) as error:
        if disk_problem(error) == FULL_DISK:
            temporary.unlink(missing_ok=True)
            raise _full_disk(folder, progress) from error
        raise
    return Shard(path, frames, skipped, pixels)


def _skip_or_raise(problem: Problem, allowed: Collection[str]) -> list[str]:
    if problem.kind in allowed:
        return [problem.kind, problem.message]
    advice = f"\n{_ADVICE[problem.kind]}; what was finished is kept." if problem.kind in _ADVICE else ""
    raise SourceError(f"{problem.message}{advice}")


def _full_disk(folder: pathlib.Path, progress) -> SourceError:
    written = sum(p.stat().st_size for p in folder.iterdir())
    needed = written / max(progress.n, 1) * progress.total - written
    free = shutil.disk_usage(folder).free
    return SourceError(
        f"The disk of {folder} is full: {free / 1e9:.1f} GB are free, about {needed / 1e9:.1f} GB more are needed. "
        "Free some space and run the same command again; what was finished is kept."
    )


def _finished(folder: pathlib.Path, job: _Job, allowed: Collection[str]) -> Shard | None:
    path, facts = folder / f"{job.stem}.array_record", folder / f"{job.stem}.json"
    if not (path.exists() and facts.exists() and path.with_suffix(".npy").exists()):
        return None
    content = json.loads(facts.read_text())
    if content["fingerprint"] != _fingerprint(job) or any(kind not in allowed for kind, _ in content["skipped"]):
        return None
    return Shard(path, content["frames"], content["skipped"], content["pixels"])


def _fingerprint(job: _Job) -> str:
    """Returns a hash that changes if the records would: by frames, settings, or size or time of source files."""

    @functools.cache  # frames of a video share their file
    def state(path: str | None):
        try:
            stat = os.stat(path) if path else None
        except OSError:
            stat = None
        return stat and (stat.st_size, stat.st_mtime_ns)

    digest = hashlib.sha256()
    for task, clip in zip(job.tasks, job.clips, strict=True):
        files = (task.frame.image, task.frame.label, task.frame.stereo_disparity)
        digest.update(repr((clip, task, [state(path) for path in files])).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _only_process(folder: pathlib.Path):
    try:
        with only_process(folder / "lock"):
            yield
    except InUseError as error:
        raise SourceError(f"another process is preparing this dataset in {folder}; wait for it to end") from error
