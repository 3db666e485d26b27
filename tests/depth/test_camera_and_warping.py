"""Camera, transforms and warping: properties, finite differences, and Streets' exact ground truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.data.streets import render_clip
from sdeseg_jax.depth import (
    axisangle_to_rotation,
    backproject,
    feature_distance,
    invert_transform,
    photometric_error,
    pose_to_transform,
    project,
    sample_bilinear,
    warp,
)
from sdeseg_jax.depth.camera import invert_intrinsics
from sdeseg_jax.depth.photometric_error import _mean3x3, dssim, minimum_reprojection
from sdeseg_jax.depth.warping import warp_coordinates

K = np.array([[[50.0, 0, 31], [0, 48, 15], [0, 0, 1]]], np.float32)


def random(*shape, seed=0, low=0.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def test_projecting_backprojected_points_gives_the_pixels_back():
    points = backproject(random(1, 16, 32, 1, low=0.5, high=60), K)
    v, u = np.mgrid[:16, :32]
    np.testing.assert_allclose(project(points, K)[0], np.stack([u, v], -1), atol=1e-4)


def test_warp_coordinates_are_those_of_lifted_moved_and_projected_points():
    depth = random(2, 16, 32, 1, low=2, high=60)
    transform = pose_to_transform(random(2, 3, low=-0.1, high=0.1), random(2, 3, low=-1))
    points = backproject(depth, jnp.asarray(K))
    moved = jnp.einsum("bij,bhwj->bhwi", transform[:, :3, :3], points) + transform[:, None, None, :3, 3]
    np.testing.assert_allclose(
        warp_coordinates(depth, transform, jnp.asarray(K)), project(moved, K), rtol=1e-4, atol=1e-3
    )


def test_inverse_intrinsics_with_skew():
    skewed = K.copy()
    skewed[0, 0, 1] = 0.7
    np.testing.assert_allclose(invert_intrinsics(jnp.asarray(skewed)) @ skewed, np.eye(3)[None], atol=1e-5)


def test_rotation_matches_the_matrix_exponential():
    for axisangle in random(5, 3, low=-2, high=2):
        x, y, z = axisangle
        generator = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        np.testing.assert_allclose(axisangle_to_rotation(axisangle), jax.scipy.linalg.expm(generator), atol=1e-5)


def test_rotation_has_value_and_gradient_at_zero():
    jacobian = jax.jacobian(axisangle_to_rotation)(jnp.zeros(3))
    assert np.all(np.isfinite(jacobian))
    # Derivative along x is the generator of rotations about x.
    np.testing.assert_allclose(jacobian[..., 0], [[0, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(axisangle_to_rotation(jnp.zeros(3)), np.eye(3))


def test_transform_and_its_inverse():
    axisangle, translation = random(4, 3, low=-1), random(4, 3, seed=1, low=-2)
    forward = pose_to_transform(axisangle, translation)
    eye = np.broadcast_to(np.eye(4), (4, 4, 4))
    np.testing.assert_allclose(forward @ invert_transform(forward), eye, atol=1e-5)
    np.testing.assert_allclose(pose_to_transform(axisangle, translation, invert=True) @ forward, eye, atol=1e-5)


def test_warping_by_identity_is_identity():
    image = random(1, 32, 64, 3)
    warped = warp(image, random(1, 32, 64, 1, seed=1, low=1, high=50), np.eye(4)[None], K)
    np.testing.assert_allclose(warped, image, atol=1e-4)


def test_sampling_at_pixel_centres_between_and_outside():
    image = jnp.arange(12.0).reshape(3, 4, 1)
    coordinates = jnp.array([[2, 1], [1.5, 0], [0, 0.25], [-5, -5], [99, 99], [3, 2], [jnp.nan, 0]])
    np.testing.assert_allclose(sample_bilinear(image, coordinates)[:, 0], [6, 1.5, 1, 0, 11, 11, 0])


def test_sampling_a_single_row_and_column():
    assert sample_bilinear(jnp.ones((1, 1, 2)), jnp.array([[0.3, 0.9]])).tolist() == [[1, 1]]


def test_gradient_of_warp_against_finite_differences():
    rng = np.random.default_rng(3)
    # A smooth image: finite differences across bilinear kinks would not be the derivative.
    v, u = np.mgrid[0:16, 0:24].astype(np.float32)
    image = np.stack([0.5 + 0.01 * u + 0.02 * v], -1)[None]
    depth = rng.uniform(5, 9, (1, 16, 24, 1)).astype(np.float32)
    weights = rng.normal(size=(1, 16, 24, 1)).astype(np.float32)
    weights[:, :3], weights[:, -3:], weights[:, :, :3], weights[:, :, -3:] = 0, 0, 0, 0
    intrinsics = np.array([[[20.0, 0, 11.5], [0, 20, 7.5], [0, 0, 1]]], np.float32)

    def objective(axisangle, translation):
        warped = warp(image, depth, pose_to_transform(axisangle, translation), intrinsics)
        return jnp.sum(weights * warped)

    axisangle, translation = np.array([[0.01, -0.02, 0.005]]), np.array([[0.1, 0.05, -0.2]])
    gradients = jax.grad(objective, (0, 1))(axisangle, translation)
    for which, gradient in enumerate(gradients):
        for axis in range(3):
            step = np.zeros((1, 3))
            step[0, axis] = 2e-2
            arguments = [axisangle, translation]
            plus, minus = list(arguments), list(arguments)
            plus[which], minus[which] = arguments[which] + step, arguments[which] - step
            numeric = (objective(*plus) - objective(*minus)) / 4e-2
            np.testing.assert_allclose(gradient[0, axis], numeric, rtol=2e-2, atol=2e-3)


def test_no_gradient_reaches_the_source_image_and_the_program_has_no_scatter():
    depth = random(1, 8, 16, 1, low=2, high=5)
    transform = np.asarray(pose_to_transform(np.array([[0.0, 0.01, 0]]), np.array([[0.1, 0, 0.2]])))

    def loss(image, depth):
        return jnp.sum(warp(image, depth, transform, K) ** 2)

    image = random(1, 8, 16, 3)
    assert not np.any(jax.grad(loss)(image, depth))
    program = jax.jit(jax.grad(loss, 1)).lower(image, depth).as_text(dialect="hlo")
    assert " gather(" in program and " scatter(" not in program


def test_geometry_multiplies_in_full_precision_on_any_device():
    """TPUs and recent GPUs multiply matrices in 8 or 11 bits by default, which shifts coordinates by whole pixels."""

    def function(depth, axisangle, translation):
        transform = invert_transform(pose_to_transform(axisangle, translation))
        return warp_coordinates(depth, transform, jnp.asarray(K)), backproject(depth, jnp.asarray(K))

    inputs = random(1, 8, 16, 1, low=2, high=5), random(1, 3, low=-0.1), random(1, 3, low=-0.1)
    program = jax.jit(function).lower(*inputs).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert products and all(line.count("HIGHEST") == 2 for line in products)


def test_automask_prefers_the_unwarped_frame_where_it_fits():
    target = random(1, 16, 16, 3)
    sources = np.stack([target, random(1, 16, 16, 3, seed=1)])
    warped = random(2, 1, 16, 16, 3, seed=2)
    errors, unwarped = photometric_error(warped, target), photometric_error(sources, target)
    error, won = minimum_reprojection(errors, unwarped)
    assert not won.any() and np.allclose(error, 0, atol=1e-6)
    error, won = minimum_reprojection(errors)
    assert won.all() and error.mean() > 0.1


def test_photometric_error_is_zero_for_equal_images_and_symmetric():
    x, y = random(1, 12, 12, 3), random(1, 12, 12, 3, seed=1)
    np.testing.assert_allclose(photometric_error(x, x), 0, atol=1e-6)
    np.testing.assert_allclose(photometric_error(x, y), photometric_error(y, x), atol=1e-6)


def test_feature_distance_value_and_gradient_at_its_zero():
    features = jnp.zeros((4, 2, 2, 3))
    assert feature_distance(features + jnp.array([0.0, 3, 4]), features, 4) == pytest.approx(5 * 4)  # sqrt(4 x 2 x 2)
    assert np.all(np.isfinite(jax.grad(lambda f: feature_distance(f, features, 4))(features)))


def test_feature_distance_is_one_norm_of_four_images_whatever_the_batch():
    features, reference = random(4, 2, 3, 5), random(4, 2, 3, 5, seed=1)
    whole = np.linalg.norm((features - reference).ravel())  # as the authors' release has it, with its batch of 4
    assert feature_distance(features, reference, 4) == pytest.approx(whole, rel=1e-5)
    more, more_reference = np.tile(features, (3, 1, 1, 1)), np.tile(reference, (3, 1, 1, 1))
    assert feature_distance(more, more_reference, 4) == pytest.approx(whole, rel=1e-5)


def test_feature_distance_of_two_devices_is_that_of_one():
    images, reference = random(4, 2, 3, 5), random(4, 2, 3, 5, seed=1)

    def distance_and_slope(images, reference, axis_name=None):
        found = jax.value_and_grad(lambda w: feature_distance(w * images, reference, 4, axis_name))(2.0)
        return found if axis_name is None else jax.lax.pmean(found, axis_name)

    whole = distance_and_slope(images, reference)
    halves = (values.reshape(2, 2, 2, 3, 5) for values in (images, reference))
    parts = jax.pmap(lambda *half: distance_and_slope(*half, "devices"), "devices")(*halves)
    np.testing.assert_allclose(np.array(parts)[:, 0], whole, rtol=1e-5)


@pytest.fixture(scope="module")
def clips():
    """Five clips of Streets with ground truth."""
    return [render_clip("train", i, frames=3, height=96, width=192) for i in range(5)]


def relative_transform(pose, target, source):
    """Target camera -> source camera from camera-to-world poses."""
    return (np.linalg.inv(pose[source]) @ pose[target]).astype(np.float32)[None]


def test_true_geometry_explains_streets(clips):
    """True depth beats depth x 0.8 and x 1.2, and leaves only errors of occlusion and interpolation."""
    errors = {0.8: [], 1.0: [], 1.2: []}
    medians = []
    for clip in clips:
        images = clip["image"].astype(np.float32) / 255
        depth = np.where(np.isfinite(clip["depth"]), clip["depth"], 1e4)[..., None]
        target, intrinsics = images[1:2], clip["intrinsics"][1:2]
        for scale, collected in errors.items():
            warped = np.stack(
                [
                    warp(images[i : i + 1], scale * depth[1:2], relative_transform(clip["pose"], 1, i), intrinsics)
                    for i in (0, 2)
                ]
            )
            error, _ = minimum_reprojection(photometric_error(warped, target))
            collected.append(float(error.mean()))
            if scale == 1.0:
                medians.append(np.median(np.abs(warped - target).min(0)))
    for i in range(len(clips)):
        assert errors[1.0][i] < errors[0.8][i] and errors[1.0][i] < errors[1.2][i], (i, errors)
    # One grey level is 0.004.
    assert np.median(medians) < 0.006, medians


def test_horizontal_flip_mirrors_intrinsics(clips):
    """The flipped pictures with mirrored u0 and pose warp as well as the originals: the K convention is right."""
    clip = clips[0]
    images = clip["image"].astype(np.float32) / 255
    depth = np.where(np.isfinite(clip["depth"]), clip["depth"], 1e4)[..., None]
    transform, intrinsics = relative_transform(clip["pose"], 1, 0), clip["intrinsics"][1:2].copy()
    intrinsics[:, 0, 2] += 6.0  # off centre, so that a wrong mirror shows
    original = warp(images[:1], depth[1:2], transform, intrinsics)
    mirror = np.diag([-1.0, 1, 1, 1]).astype(np.float32)
    flipped_intrinsics = intrinsics.copy()
    flipped_intrinsics[:, 0, 2] = 192 - 1 - intrinsics[:, 0, 2]
    flipped = warp(images[:1, :, ::-1], depth[1:2, :, ::-1], mirror @ transform @ mirror, flipped_intrinsics)
    np.testing.assert_allclose(flipped[:, :, ::-1], original, atol=2e-3)


def test_gradient_of_dssim_is_that_of_its_formula():
    """Compares the hand-written backward pass with what JAX derives from the formula as sums of shifted views."""

    def mean(x):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        height, width = x.shape[1] - 2, x.shape[2] - 2
        return sum(x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9

    def plain(x, y):
        mean_x, mean_y = mean(x), mean(y)
        variances = mean(x**2) - mean_x**2 + mean(y**2) - mean_y**2
        ssim = (2 * mean_x * mean_y + 1e-4) * (2 * (mean(x * y) - mean_x * mean_y) + 9e-4)
        return jnp.clip((1 - ssim / ((mean_x**2 + mean_y**2 + 1e-4) * (variances + 9e-4))) / 2, 0, 1)

    x, y, weight = jax.random.uniform(jax.random.key(0), (3, 2, 5, 7, 3))
    x = x.at[0, 0].set(y[0, 0])
    for function in (plain, dssim):
        value, gradient = jax.value_and_grad(lambda x, f=function: jnp.sum(weight * f(x, y)))(x)
        if function is plain:
            expected, wanted = value, gradient
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, wanted, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("shape", [(2, 2), (2, 5), (6, 3)])
def test_box_filter_reflects_at_the_borders(shape):
    """Also the gradient, because the transposed filter is written by hand."""
    x, weight = np.random.default_rng(0).normal(size=(2, 1, *shape, 1)).astype(np.float32)
    padded = np.pad(x[0, ..., 0], 1, mode="reflect")
    expected = sum(padded[i : i + shape[0], j : j + shape[1]] for i in range(3) for j in range(3)) / 9
    found, pull = jax.vjp(_mean3x3, jnp.moveaxis(jnp.asarray(x), -1, -3))
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-6)
    # <weight, F x> = <F' weight, x>
    (pulled,) = pull(jnp.moveaxis(jnp.asarray(weight), -1, -3))
    np.testing.assert_allclose(np.sum(weight[0, ..., 0] * expected), np.sum(pulled[0, 0] * x[0, ..., 0]), rtol=1e-4)
