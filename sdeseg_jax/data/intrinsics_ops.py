"""Camera intrinsics after image operations, in tf.data graphs. Pixel centres lie at integer coordinates."""

import tensorflow as tf


def _affine(scale_x, shift_x, shift_y) -> tf.Tensor:
    entries = [scale_x, 0.0, shift_x, 0.0, 1.0, shift_y, 0.0, 0.0, 1.0]
    return tf.reshape(tf.stack([tf.cast(x, tf.float32) for x in entries]), (3, 3))


def crop_intrinsics(intrinsics: tf.Tensor, top, left) -> tf.Tensor:
    """Returns intrinsics [3, 3] after cutting off `top` rows and `left` columns."""
    return _affine(1.0, -tf.cast(left, tf.float32), -tf.cast(top, tf.float32)) @ intrinsics


def flip_intrinsics(intrinsics: tf.Tensor, width) -> tf.Tensor:
    """Returns intrinsics [3, 3] after a horizontal flip of an image of `width` pixels: only u0 is mirrored.

    The flipped image shows a mirrored world (x -> -x), seen by a camera with positive focal length.
    """
    mirror_world = tf.linalg.diag(tf.constant([-1.0, 1.0, 1.0]))
    return _affine(-1.0, tf.cast(width, tf.float32) - 1.0, 0.0) @ intrinsics @ mirror_world
