"""Whole clips as arrays, for tests, figures and other uses without a dataset on disk."""

import numpy as np

from sdeseg_jax.data.streets.domain_looks import TARGET, Domain
from sdeseg_jax.data.streets.frame_renderer import render
from sdeseg_jax.data.streets.scene import make_scene
from sdeseg_jax.data.streets.synthetic_source import SOURCE

DOMAINS = {domain.name: domain for domain in (TARGET, SOURCE)}


def render_clip(
    split: str, index: int, *, frames: int, height: int, width: int, seed: int = 0, domain: Domain = TARGET
) -> dict[str, np.ndarray]:
    """Renders the clip of one scene, as a function of the arguments alone.

    Returns:
      image [T, H, W, 3] uint8; label [T, H, W] uint8 (train ids); depth [T, H, W] float32, metres along the optical
      axis, +inf in the sky; intrinsics [T, 3, 3] float32 in pixels (pixel centres at integer coordinates);
      pose [T, 4, 4] float64, camera to world.
    """
    scene = make_scene(domain, seed, split, index, frames)
    rendered = [render(scene, frame, height, width) for frame in range(frames)]
    return {key: np.stack([frame[key] for frame in rendered]) for key in rendered[0]}


def render_task(task: dict) -> dict[str, np.ndarray]:
    """Calls `render_clip` with the keyword arguments in a dict, the domain by name, for worker processes."""
    domain = DOMAINS[task.get("domain", TARGET.name)]
    return render_clip(**{**task, "domain": domain})
