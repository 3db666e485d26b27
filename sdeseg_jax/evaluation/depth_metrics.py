"""Depth metrics with per-image median scaling (Sec. 4.2), and priors that any network should beat."""

import dataclasses
from collections.abc import Iterable

import numpy as np

MIN_DEPTH = 1e-3


@dataclasses.dataclass(frozen=True)
class DepthScores:
    """The standard metrics, averaged over images, with each prediction scaled by the ratio of medians.

    Attributes:
      abs_rel, sq_rel, rmse, rmse_log: errors (rmse and sq_rel in metres).
      a1, a2, a3: share of pixels within a factor of 1.25, 1.25^2, 1.25^3.
      median_scale: median over images of the applied scale.
      scale_spread: standard deviation of the applied scales / their median; 0 for a constant scale.
      images: how many had valid pixels.
    """

    abs_rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    a1: float
    a2: float
    a3: float
    median_scale: float
    scale_spread: float
    images: int

    def to_json(self) -> dict:
        """Returns the scores as a plain dict."""
        return dataclasses.asdict(self)


def known_depth(truth: np.ndarray, cap: float) -> np.ndarray:
    """Returns where true depth [..., H, W] in metres is known and at most `cap`; bool, same shape."""
    return np.isfinite(truth) & (truth > MIN_DEPTH) & (truth <= cap)


def depth_errors(prediction: np.ndarray, truth: np.ndarray, cap: float = 50.0) -> tuple[np.ndarray, float] | None:
    """Returns the errors of one image over pixels with true depth in (0, cap].

    Args:
      prediction: depth up to scale, positive, [H, W].
      truth: metres, [H, W]; 0, inf or NaN where unknown.
      cap: metres; predictions are clipped to it after scaling.

    Returns:
      ([abs_rel, sq_rel, rmse, rmse_log, a1, a2, a3], scale), or None without a valid pixel.
    """
    valid = known_depth(truth, cap)
    if not valid.any():
        return None
    prediction, truth = prediction[valid].astype(np.float64), truth[valid].astype(np.float64)
    scale = np.median(truth) / np.median(prediction)
    prediction = np.clip(prediction * scale, MIN_DEPTH, cap)
    difference = prediction - truth
    ratio = np.maximum(prediction / truth, truth / prediction)
    errors = [
        np.mean(np.abs(difference) / truth),
        np.mean(difference**2 / truth),
        np.sqrt(np.mean(difference**2)),
        np.sqrt(np.mean((np.log(prediction) - np.log(truth)) ** 2)),
        *(np.mean(ratio < 1.25**k) for k in (1, 2, 3)),
    ]
    return np.array(errors), float(scale)


def depth_scores(pairs: Iterable[tuple[np.ndarray, np.ndarray]], cap: float = 50.0) -> DepthScores:
    """Returns the scores of (prediction, truth) pairs, each [H, W].

    Raises:
      ValueError: no image has a pixel with known depth up to the cap.
    """
    return mean_scores((depth_errors(*pair, cap) for pair in pairs), cap)


def mean_scores(results: Iterable[tuple[np.ndarray, float] | None], cap: float) -> DepthScores:
    """Averages the results of `depth_errors` over images.

    Raises:
      ValueError: no image has a pixel with known depth up to the cap.
    """
    results = [result for result in results if result is not None]
    if not results:
        raise ValueError(f"no image has a pixel with known depth up to {cap} m")
    errors = np.mean([errors for errors, _ in results], axis=0)
    scale = np.array([scale for _, scale in results])
    spread = float(np.std(scale) / np.median(scale))
    return DepthScores(*(float(e) for e in errors), float(np.median(scale)), spread, len(results))


def pixel_priors(depths: Iterable[np.ndarray], cap: float = 50.0) -> dict[str, np.ndarray]:
    """Averages depth per pixel over training images: a prediction that ignores the image.

    Args:
      depths: true depth maps [H, W] in metres; unknown pixels and those farther than `cap` do not count.

    Returns:
      {"mean": [H, W], "median": [H, W]}; `cap` where a pixel never had a known depth.
    """
    stack = np.stack([np.where(known_depth(d, cap), d, np.nan) for d in depths])
    unknown = np.all(np.isnan(stack), axis=0)
    stack[:, unknown] = cap
    return {"mean": np.nanmean(stack, axis=0), "median": np.nanmedian(stack, axis=0)}
