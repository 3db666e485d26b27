"""Renders a clip in a worker process and encodes it as the dataset stores it."""

from sdeseg_jax.data.streets.clip_renderer import render_task
from sdeseg_jax.data.streets.png_encoder import encode_png


def encode_clip(task: dict) -> list[dict]:
    """Renders one clip; encodes images and labels as PNG, the larger part of the work of storing them.

    Args:
      task: see `render_task`.

    Returns:
      Per frame `image`, `label` (PNG bytes), `depth` [H, W, 1] and `intrinsics` [3, 3] float32, `pose` [4, 4] float64.
    """
    clip = render_task(task)
    return [
        {
            "image": encode_png(clip["image"][t]),
            "label": encode_png(clip["label"][t][..., None]),
            "depth": clip["depth"][t][..., None],
            "intrinsics": clip["intrinsics"][t],
            "pose": clip["pose"][t],
        }
        for t in range(task["frames"])
    ]
