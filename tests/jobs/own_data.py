"""Streets as a user would have it: clips of images, and the true labels of all frames."""

import json

import numpy as np
from PIL import Image

from sdeseg_jax.data.streets import render_clip


def write_clips(root, clips: int, frames: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Writes `clips/` and `camera.json` of a folder.

    Returns:
      Name of a frame -> its label [H, W]; labels are not written.
    """
    truth = {}
    for c in range(clips):
        clip = render_clip("train", c, frames=frames, height=size[0], width=size[1])
        folder = root / "clips" / f"c{c}"
        folder.mkdir(parents=True)
        for t in range(frames):
            Image.fromarray(clip["image"][t]).save(folder / f"c{c}_{t}.png")
            truth[f"c{c}_{t}"] = clip["label"][t]
    (root / "camera.json").write_text(json.dumps({"field_of_view": 68}))
    return truth
