"""Class frequencies of a selection against random ones (Fig. 7); the only use of labels in the selection."""

import numpy as np


def class_shares(counts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Returns the share of each class in the pixels of the chosen frames.

    Args:
      counts: pixels of each class per frame, [N, C].
      chosen: indices of frames.

    Returns:
      float64 [C], 0 without any labelled pixel.
    """
    pixels = counts[chosen].sum(0).astype(np.float64)
    return pixels / max(pixels.sum(), 1.0)


def frequency_ratios(counts: np.ndarray, chosen: np.ndarray, seed: int, draws: int = 100) -> dict[str, np.ndarray]:
    """Compares class frequencies of a selection with those of random selections of the same size.

    Args:
      counts: pixels of each class per frame, [N, C].
      chosen: indices of the selected frames.
      seed: of the random selections.
      draws: number of random selections.

    Returns:
      Arrays [C]: `share` of the selection, `random_share` (mean over draws), `ratio` of the two (NaN where no draw has
      the class), and `ratio_deviation`, the standard deviation of a random selection's ratio to the mean.
    """
    rng = np.random.default_rng([seed, 17])
    drawn = np.stack([class_shares(counts, rng.choice(len(counts), len(chosen), replace=False)) for _ in range(draws)])
    mean, share = drawn.mean(0), class_shares(counts, chosen)
    present = np.where(mean > 0, mean, np.nan)
    return {"share": share, "random_share": mean, "ratio": share / present, "ratio_deviation": drawn.std(0) / present}
