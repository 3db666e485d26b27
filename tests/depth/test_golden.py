"""The depth losses against the release's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.depth import (
    SelfSupervisedDepthLoss,
    berhu,
    disparity_to_depth,
    dssim,
    edge_aware_smoothness,
    pose_to_transform,
    self_supervised_depth_loss,
    warp,
)
from sdeseg_jax.depth.self_supervised_loss import image_pyramid
from sdeseg_jax.depth.warping import warp_coordinates

FRAMES = ("-1", "1")


def _loss(numbers, automask, disparities, axisangles, translations):
    transforms = jnp.stack(
        [
            pose_to_transform(axisangle, translation, invert=frame == "-1")
            for frame, axisangle, translation in zip(FRAMES, axisangles, translations, strict=True)
        ]
    )
    value = self_supervised_depth_loss(
        SelfSupervisedDepthLoss(automask=automask),
        disparities,
        transforms,
        numbers["image_0"],
        jnp.stack([numbers[f"image_{frame}"] for frame in FRAMES]),
        numbers["K"][:, :3, :3],
    )
    return value.loss, (value, transforms)


@pytest.mark.parametrize("name, automask", [("photometric_automask_min", True), ("photometric_plain_min", False)])
def test_photometric_loss_and_gradients(golden, name, automask):
    numbers = golden(name)
    disparities = [numbers[f"disp_{s}"] for s in range(4)]
    axisangles = [numbers[f"axisangle_{frame}"] for frame in FRAMES]
    translations = [numbers[f"translation_{frame}"] for frame in FRAMES]
    differentiate = jax.jit(jax.value_and_grad(lambda *args: _loss(numbers, automask, *args), (0, 1, 2), has_aux=True))
    (loss, (value, transforms)), gradients = differentiate(disparities, axisangles, translations)

    np.testing.assert_allclose(loss, numbers["loss"], rtol=1e-5)
    np.testing.assert_allclose(value.per_scale, [numbers[f"loss_{s}"] for s in range(4)], rtol=1e-5)

    def close(gradient, key):
        expected = numbers[key]
        np.testing.assert_allclose(gradient, expected, atol=1e-3 * np.abs(expected).max(), err_msg=key)

    for s in range(4):
        close(gradients[0][s], f"grad_disp_{s}")
    for i, frame in enumerate(FRAMES):
        close(gradients[1][i], f"grad_axisangle_{frame}")
        close(gradients[2][i], f"grad_translation_{frame}")
        np.testing.assert_allclose(transforms[i], numbers[f"cam_T_cam_{frame}"], atol=1e-6)


@pytest.mark.parametrize("frame", FRAMES)
def test_warped_images_and_coordinates(golden, frame):
    numbers = golden("photometric_automask_min")
    intrinsics, transform = numbers["K"][:, :3, :3], numbers[f"cam_T_cam_{frame}"]
    depth = disparity_to_depth(numbers["disp_0"])
    height, width = depth.shape[1:3]

    coordinates = warp_coordinates(depth, transform, intrinsics)
    normalized = 2 * coordinates / jnp.array([width - 1, height - 1]) - 1
    np.testing.assert_allclose(normalized, numbers[f"pix_coords_{frame}"], atol=2e-5)
    warped = warp(numbers[f"image_{frame}"], depth, transform, intrinsics)
    np.testing.assert_allclose(warped, numbers[f"warped_{frame}"], atol=1e-4)


def test_functions(golden):
    numbers = golden("functions")
    np.testing.assert_allclose(dssim(numbers["x"], numbers["y"]), numbers["ssim"], atol=1e-4)
    np.testing.assert_allclose(edge_aware_smoothness(numbers["disp"], numbers["x"]), numbers["smoothness"], rtol=1e-5)
    np.testing.assert_allclose(disparity_to_depth(numbers["disp"]), numbers["depth"], rtol=1e-5)
    minimum, maximum = 1 / 100, 1 / 0.1
    np.testing.assert_allclose(minimum + (maximum - minimum) * numbers["disp"], numbers["scaled_disp"], rtol=1e-5)


def test_berhu_with_the_bottom_rows_masked(golden):
    numbers = golden("functions")
    prediction, target = numbers["disp"], numbers["disp_target"]
    valid = (np.arange(32) < int(0.9 * 32))[None, :, None, None]
    np.testing.assert_allclose(berhu(prediction, target, valid), numbers["berhu"], rtol=1e-5)
    np.testing.assert_allclose(berhu(np.log1p(prediction), np.log1p(target), valid), numbers["berhu_log"], rtol=1e-5)


def test_image_pyramid(golden):
    numbers = golden("photometric_plain_min")
    for scale, level in enumerate(image_pyramid(jnp.asarray(numbers["image_0"]), 4)):
        np.testing.assert_allclose(level, numbers[f"image_0_scale_{scale}" if scale else "image_0"], atol=1e-6)
