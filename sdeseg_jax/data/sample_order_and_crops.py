"""Streams of training samples: the frames, crops and flips of every batch, as functions of (seed, step)."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from sdeseg_jax.adaptation.geometry_matching import geometric_difference
from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.stored_geometry import GeometryMaps


@dataclasses.dataclass(frozen=True)
class Matching:
    """Matching Geometry Sampling (Sec. 3.5): a stream's samples are chosen to match those of a target stream.

    Attributes:
      target: name of the target stream; the i-th sample of a batch is matched to its i-th.
      target_geometry: of the target stream's frames.
      geometry: of this stream's frames.
      n_candidates: |C|, number of samples to choose from.
    """

    target: str
    target_geometry: GeometryMaps
    geometry: GeometryMaps
    n_candidates: int


@dataclasses.dataclass(frozen=True)
class Stream:
    """An endless, shuffled stream of training crops.

    Attributes:
      dataset: source of the frames.
      indices: record indices to draw from, each once per epoch.
      batch_size: of this host.
      fields: batch fields to make, see `data.input_pipeline`.
      labeled: record indices that count as annotated; other labels are void, even if the dataset has them.
      disparities: source of `disparity`.
      salt: separates the randomness of streams with the same seed.
      matching: how samples are matched to those of another stream; None to draw them at random.
    """

    dataset: FrameDataset
    indices: np.ndarray
    batch_size: int
    fields: tuple[str, ...]
    labeled: np.ndarray | None = None
    disparities: DisparityFolder | None = None
    salt: int = 0
    matching: Matching | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """The frames, crops and flips of some samples.

    Attributes:
      indices: int64 [B], records of the target frames.
      corner: int32 [B, 2], top and left of the crop in pixels.
      flipped: bool [B].
      labeled: bool [B]; other labels are void and are not read.
    """

    indices: np.ndarray
    corner: np.ndarray
    flipped: np.ndarray
    labeled: np.ndarray

    def take(self, places: np.ndarray) -> "Choice":
        """Returns the samples at `places`."""
        return Choice(*(getattr(self, field.name)[places] for field in dataclasses.fields(self)))


def training_choice(
    stream: Stream, crop: tuple[int, int], flip: bool, seed: int, host: int = 0, hosts: int = 1, multiple: int = 1
) -> Callable[[int], Choice]:
    """Returns a function of the step that draws this host's share of a batch, without the stream's `matching`.

    A sample's place in the global order, step * global batch size + place in the global batch, determines its epoch
    and frame, and seeds its crop and flip. Arguments as for `input_pipeline.training_batches`; a batch has `multiple`
    times the stream's batch size.
    """
    draw, count = sample_drawing(stream, crop, flip, seed), stream.batch_size * multiple

    def choose(step: int) -> Choice:
        first = (step * hosts + host) * count
        return draw(range(first, first + count))

    return choose


def sample_drawing(stream: Stream, crop: tuple[int, int], flip: bool, seed: int) -> Callable[[Iterable[int]], Choice]:
    """Returns a function of places in a stream's global order that draws the samples there."""
    count, size = len(stream.indices), stream.dataset.image_size
    is_labeled = np.zeros(len(stream.dataset.index), bool)
    if stream.labeled is not None:
        is_labeled[stream.labeled] = True

    @functools.lru_cache(maxsize=2)  # a batch may end one epoch and begin the next
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, stream.salt, 0, epoch]).permutation(np.asarray(stream.indices, np.int64))

    def draw(places: Iterable[int]) -> Choice:
        places = list(places)
        indices = np.array([order(place // count)[place % count] for place in places])
        corner, flipped = np.zeros((len(places), 2), np.int32), np.zeros(len(places), bool)
        for i, place in enumerate(places):
            rng = np.random.default_rng([seed, stream.salt, 1, place])
            corner[i] = rng.integers(0, (size[0] - crop[0] + 1, size[1] - crop[1] + 1))
            flipped[i] = flip and rng.random() < 0.5
        return Choice(indices, corner, flipped, is_labeled[indices])

    return draw


def training_choices(
    streams: Mapping[str, Stream], crop: tuple[int, int], flip: bool, seed: int, host: int = 0, hosts: int = 1
) -> dict[str, Callable[[int], Choice]]:
    """Returns `training_choice` of every stream; streams with `matching` are matched to their target streams."""
    chooses = {name: training_choice(stream, crop, flip, seed, host, hosts) for name, stream in streams.items()}
    for name, stream in streams.items():
        if stream.matching:
            candidates = candidate_choice(stream, crop, flip, seed, host, hosts)
            chooses[name] = _choose_nearest(stream.matching, chooses[stream.matching.target], candidates, crop)
    return chooses


def candidate_choice(
    stream: Stream, crop: tuple[int, int], flip: bool, seed: int, host: int = 0, hosts: int = 1
) -> Callable[[int], Choice]:
    """Returns a function of the step that draws the candidates for this host's samples, |C| for each in turn.

    Candidates are the stream's samples in its own order: each frame is a candidate equally often, and |C| = 1 gives the
    stream without matching.
    """
    return training_choice(stream, crop, flip, seed, host, hosts, stream.matching.n_candidates)


def differences(matching: Matching, target: Choice, candidates: Choice, crop: tuple[int, int]) -> np.ndarray:
    """Returns the geometric difference (Eq. 22) of target samples [B] to their candidates [B * |C|]: float [B, |C|]."""
    wanted = matching.target_geometry.crops(target.indices, target.corner, target.flipped, crop)
    found = matching.geometry.crops(candidates.indices, candidates.corner, candidates.flipped, crop)
    found = found.reshape(len(wanted), -1, *found.shape[1:])
    return geometric_difference(wanted[:, None], found)


def mean_differences(
    streams: Mapping[str, Stream], name: str, crop: tuple[int, int], flip: bool, seed: int, steps: int
) -> dict[str, float]:
    """Returns the mean geometric difference over some batches of the chosen pairs ("matched") and of all ("random").

    Args:
      name: of a stream with `matching`.
      crop, flip, seed: as for `input_pipeline.training_batches`.
      steps: number of batches.
    """
    stream = streams[name]
    target = training_choice(streams[stream.matching.target], crop, flip, seed)
    candidates = candidate_choice(stream, crop, flip, seed)
    found = [differences(stream.matching, target(step), candidates(step), crop) for step in range(steps)]
    return {"matched": float(np.mean(np.min(found, axis=2))), "random": float(np.mean(found))}


def _choose_nearest(matching: Matching, choose_target, choose_candidates, crop) -> Callable[[int], Choice]:
    """Returns a function of the step that chooses the nearest candidate for every target sample (Eq. 23)."""

    def choose(step: int) -> Choice:
        target, candidates = choose_target(step), choose_candidates(step)
        nearest = np.argmin(differences(matching, target, candidates, crop), axis=1)
        return candidates.take(np.arange(len(nearest)) * matching.n_candidates + nearest)

    return choose
