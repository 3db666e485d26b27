"""A rendered clip as what the dataset stores, made in a worker process."""

from sdeseg_jax.data.streets.clip_renderer import render_task
from sdeseg_jax.data.streets.png_encoder import encode_png


def encode_clip(task: dict) -> list[dict]:
    """Renders one clip; images and labels come back as PNG bytes, which is the larger part of storing them.

    Args:
      task: see `render_task`.

    Returns:
      per frame `image` and `label` (PNG bytes), `depth` [H, W, 1] float32, `intrinsics` [3, 3] float32, `pose` [4, 4]
      float64.
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
