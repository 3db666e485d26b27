"""Depthwise convolution with TensorFlow's 'SAME' padding; on CPUs as shifted multiply-adds.

XLA's own depthwise convolution is slow on CPUs, and its gradient slower still. Shifted copies of the image, each times
one number of the kernel per channel, fuse into one loop; the gradients are written here, because the ones that JAX
derives (pad and add for every shift) do not fuse. Other devices, and exported files, keep the convolution.
"""

import functools

import jax
import jax.numpy as jnp

from sdeseg_jax.models.layers import keeps_convolutions

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Returns the padding before and after an axis such that the output has ceil(size / stride) samples.

    Where the sum is odd, the sample more is after, as in TensorFlow, whose weights EfficientNets come from.
    """
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def depthwise_convolution(images: jax.Array, kernel: jax.Array, stride: int = 1, dilation: int = 1) -> jax.Array:
    """Convolves every channel with its own kernel.

    Args:
      images: [B, H, W, C].
      kernel: [k, k, 1, C].
      stride, dilation: of both axes; one of them is 1.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), C].

    Raises:
      ValueError: both `stride` and `dilation` exceed 1.

    >>> images, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
    >>> depthwise_convolution(images, kernel, stride=2)[0, :, :, 0].tolist()
    [[9.0, 6.0], [6.0, 4.0]]
    """
    if stride > 1 and dilation > 1:
        raise ValueError(f"stride={stride} and dilation={dilation}: one of them must be 1")
    if keeps_convolutions():
        return _library_convolution(images, kernel, stride, dilation)
    return _convolve(images, kernel, stride, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(images, kernel, stride: int, dilation: int):
    return jax.lax.platform_dependent(
        images,
        kernel,
        cpu=functools.partial(_shift_and_add, stride=stride, dilation=dilation),
        default=functools.partial(_library_convolution, stride=stride, dilation=dilation),
    )


def _forward(images, kernel, stride: int, dilation: int):
    return _convolve(images, kernel, stride, dilation), (images, kernel)


def _backward(stride: int, dilation: int, saved, gradient):
    def by_hand(images, kernel, gradient):
        for_images = _gradient_of_images(images.shape, kernel, gradient, stride, dilation)
        return for_images, _gradient_of_kernel(images, kernel, gradient, stride, dilation)

    def by_library(images, kernel, gradient):
        run = functools.partial(_library_convolution, stride=stride, dilation=dilation)
        return jax.vjp(run, images, kernel)[1](gradient)

    return jax.lax.platform_dependent(*saved, gradient, cpu=by_hand, default=by_library)


_convolve.defvjp(_forward, _backward)


def _library_convolution(images, kernel, stride: int, dilation: int):
    size = kernel.shape[0]
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        [same_padding(side, size, stride, dilation) for side in images.shape[1:3]],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=DIMENSIONS,
        feature_group_count=images.shape[-1],
    )


def _pad(images, rows: tuple[int, int], columns: tuple[int, int]):
    return jnp.pad(images, ((0, 0), rows, columns, (0, 0)))


def _strided(images, top: int, left: int, rows: int, columns: int, strides: tuple[int, int] = (1, 1)):
    """Returns `rows` x `columns` samples at strides, from a corner on."""
    bottom, right = top + (rows - 1) * strides[0] + 1, left + (columns - 1) * strides[1] + 1
    return jax.lax.slice(images, (0, top, left, 0), (images.shape[0], bottom, right, images.shape[3]), (1, *strides, 1))


def _shift_and_add(images, kernel, stride: int, dilation: int):
    size, (rows, columns) = kernel.shape[0], [-(-side // stride) for side in images.shape[1:3]]
    padded = _pad(images, *(same_padding(side, size, stride, dilation) for side in images.shape[1:3]))
    return sum(
        _strided(padded, i * dilation, j * dilation, rows, columns, (stride, stride)) * kernel[i, j, 0]
        for i in range(size)
        for j in range(size)
    )


def _gradient_of_kernel(images, kernel, gradient, stride: int, dilation: int):
    """Sums image times gradient for every shift, a row of the gradient at a time, which stays in the cache."""
    size, (_, rows, columns, channels) = kernel.shape[0], gradient.shape
    padded = _pad(images, *(same_padding(side, size, stride, dilation) for side in images.shape[1:3]))
    reach = (size - 1) * dilation

    def add_row(total, row):
        window = jax.lax.dynamic_slice_in_dim(padded, row * stride, reach + 1, axis=1)[:, ::dilation]  # [B, k, W', C]
        of_row = jax.lax.dynamic_slice_in_dim(gradient, row, 1, axis=1)
        by_column = [
            jnp.sum(_strided(window, 0, left, size, columns, (1, stride)) * of_row, (0, 2), jnp.float32)
            for left in range(0, reach + 1, dilation)
        ]
        return total + jnp.stack(by_column, axis=1), None

    total, _ = jax.lax.scan(add_row, jnp.zeros((size, size, channels), jnp.float32), jnp.arange(rows))
    return total.reshape(kernel.shape).astype(kernel.dtype)


def _gradient_of_images(shape, kernel, gradient, stride: int, dilation: int):
    """Returns the gradient of the images: a convolution with the kernel turned round, for each parity of the pixel.

    Output y reads pixels y * stride + i * dilation - before. So a pixel of parity p, at n * stride + p, was read by the
    outputs n + (p + before - i * dilation) / stride, where that is a whole number.
    """
    size, (height, width) = kernel.shape[0], shape[1:3]
    before = [same_padding(side, size, stride, dilation)[0] for side in (height, width)]
    rows, columns = -(-height // stride), -(-width // stride)
    margin = (size - 1) * dilation
    padded = _pad(gradient, (margin, margin), (margin, margin))

    def offsets(parity: int, start: int):
        steps = ((i, parity + start - i * dilation) for i in range(size))
        return [(i, margin + step // stride) for i, step in steps if step % stride == 0]

    def pixels(p: int, q: int):
        return sum(
            _strided(padded, top, left, rows, columns) * kernel[i, j, 0]
            for i, top in offsets(p, before[0])
            for j, left in offsets(q, before[1])
        )

    if stride == 1:
        return pixels(0, 0)
    by_parity = [jnp.stack([pixels(p, q) for q in range(stride)], axis=3) for p in range(stride)]
    whole = jnp.stack(by_parity, axis=2)  # [B, rows, p, columns, q, C]
    return whole.reshape(shape[0], rows * stride, columns * stride, shape[3])[:, :height, :width]
