"""Class probabilities of images: whole or in windows, at several scales, mirrored; scored at any resolution."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.models.resize import resize_bilinear_align_corners

MAX_AT_ONCE = 16
"""Most windows that are predicted as one batch; they overlap, so this takes about twice the whole image's memory."""

STRIDE = 32
"""Sides of the network's input are multiples of this."""


@dataclasses.dataclass(frozen=True)
class Inference:
    """How an image is segmented for scoring.

    Attributes:
      input_size: (height, width) that images are resized to for the network; None: not resized. Logits are enlarged
        bilinearly to the images' own size, which is that of the labels.
      window: (height, width) of the sliding window, whose stride is two thirds of it; None: the whole image.
      flip: average with the prediction for the mirrored image.
      scales: factors of the input size; predictions are averaged over them.
    """

    input_size: tuple[int, int] | None = None
    window: tuple[int, int] | None = None
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def describe(self, image_size: tuple[int, int]) -> str:
        """Returns the protocol in words: 'input 512x1024, scored at 1024x2048, windows of 512x512, mirrored, too'."""
        height, width = self.input_size or image_size
        parts = [f"input {height}x{width}"]
        if (height, width) != tuple(image_size):
            parts.append(f"scored at {image_size[0]}x{image_size[1]}")
        parts.append(f"windows of {self.window[0]}x{self.window[1]}" if self.window else "whole image")
        return ", ".join(parts + self.describe_views())

    def describe_views(self) -> list[str]:
        """Returns words for mirroring and scales, if used."""
        scales = "scales " + " ".join(f"{scale:g}" for scale in self.scales)
        return ["mirrored, too"] * self.flip + [scales] * (self.scales != (1.0,))


def read_inference(config, input_size: tuple[int, int]) -> Inference:
    """Reads `config.evaluation`; if it sets no input size, that of the training images (height, width) is used."""
    options = config.evaluation
    window = tuple(options.window) or None
    return Inference(tuple(options.input_size) or tuple(input_size), window, options.flip, tuple(options.scales))


def window_starts(length: int, window: int) -> list[int]:
    """Returns the starts of windows that cover a length, at most two thirds of a window apart, the last at the end."""
    if window >= length:
        return [0]
    count = -(-(length - window) // max(1, 2 * window // 3))
    return [round(i * (length - window) / count) for i in range(count + 1)]


def windowed_logits(predict: Callable[[jax.Array], jax.Array], images: jax.Array, window: tuple[int, int]) -> jax.Array:
    """Returns logits of images from overlapping windows, averaged where they overlap.

    Args:
      predict: [B, h, w, 3] -> logits [B, h', w', C], which are enlarged to the window's size.
      images: [B, H, W, 3].
      window: (height, width); at most the image's size is used.

    Returns:
      [B, H, W, C].
    """
    _, *size, _ = images.shape
    window = tuple(min(pair) for pair in zip(window, size, strict=True))
    corners = [(y, x) for y in window_starts(size[0], window[0]) for x in window_starts(size[1], window[1])]
    windowed = _windows_at_once if len(corners) <= MAX_AT_ONCE else _windows_in_turn
    return windowed(predict, images, window, corners)


def _windows_at_once(predict, images, window, corners):
    """Predicts all windows as one batch: convolutions in a loop are ten times slower on CPUs."""
    batch, *size, _ = images.shape
    ends = [(y + window[0], x + window[1]) for y, x in corners]
    cuts = [
        jax.lax.slice_in_dim(jax.lax.slice_in_dim(images, y, y_end, axis=1), x, x_end, axis=2)
        for (y, x), (y_end, x_end) in zip(corners, ends, strict=True)
    ]
    logits = resize_bilinear_align_corners(predict(jnp.concatenate(cuts)), window)
    logits = logits.reshape(len(corners), batch, *logits.shape[1:])
    total, count = 0.0, np.zeros((1, *size, 1), np.float32)
    for i, ((y, x), (y_end, x_end)) in enumerate(zip(corners, ends, strict=True)):
        one = jax.lax.squeeze(jax.lax.slice_in_dim(logits, i, i + 1), [0])
        total = total + jnp.pad(one, ((0, 0), (y, size[0] - y_end), (x, size[1] - x_end), (0, 0)))
        count[:, y:y_end, x:x_end] += 1
    return total / count


def _windows_in_turn(predict, images, window, corners):
    """Predicts one window after another, which takes the memory of one."""
    batch, *size, _ = images.shape
    corners = jnp.array(corners)

    def cut(corner):
        return jax.lax.dynamic_slice(images, (0, *corner, 0), (batch, *window, images.shape[3]))

    classes = jax.eval_shape(lambda: predict(cut(corners[0]))).shape[-1]

    def add(carry, corner):
        total, count = carry
        logits = resize_bilinear_align_corners(predict(cut(corner)), window)
        place = (0, *corner, 0)
        old = jax.lax.dynamic_slice(total, place, logits.shape)
        total = jax.lax.dynamic_update_slice(total, old + logits, place)
        seen = jax.lax.dynamic_slice(count, place, (1, *window, 1))
        return (total, jax.lax.dynamic_update_slice(count, seen + 1, place)), None

    start = (jnp.zeros((batch, *size, classes)), jnp.zeros((1, *size, 1)))
    (total, count), _ = jax.lax.scan(add, start, corners)
    return total / count


def class_probabilities(
    predict: Callable[[jax.Array], jax.Array], images: jax.Array, inference: Inference
) -> jax.Array:
    """Returns class probabilities at the size of the images.

    Args:
      predict: network input [B, h, w, 3] in [0, 1], sides multiples of 32 -> logits [B, h', w', C].
      images: [B, H, W, 3] in [0, 1].
      inference: protocol.

    Returns:
      [B, H, W, C] float32; the mean over scales and mirroring.
    """
    size, batch = images.shape[1:3], images.shape[0]
    views = []
    for scale in inference.scales:
        scaled = tuple(max(STRIDE, STRIDE * round(scale * side / STRIDE)) for side in (inference.input_size or size))
        inputs = images
        if scaled != size:
            inputs = jax.image.resize(images, (batch, *scaled, 3), "bilinear", antialias=True)
        for mirrored in (False, True) if inference.flip else (False,):
            view = jnp.flip(inputs, axis=2) if mirrored else inputs
            logits = windowed_logits(predict, view, inference.window) if inference.window else predict(view)
            logits = resize_bilinear_align_corners(logits, size)
            views.append(jax.nn.softmax(jnp.flip(logits, axis=2) if mirrored else logits))
    return sum(views) / len(views)
