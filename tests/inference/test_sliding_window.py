"""Windows, mirroring, scales and resolution of the evaluation, with predictors whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.config import UserError, default_config, validate
from sdeseg_jax.inference.sliding_window import (
    Inference,
    class_probabilities,
    read_inference,
    window_starts,
    windowed_logits,
)


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).random((2, 64, 96, 3), np.float32))


def pixelwise(x):
    """Logits of five classes that depend on the pixel alone."""
    return jnp.stack([3 * x[..., 0], x[..., 1] - x[..., 2], x.sum(-1), -x[..., 0], 2 * x[..., 2]], -1)


def lopsided(x):
    """Logits that depend on the pixel to the left, so on the direction."""
    return pixelwise(x) + jnp.roll(pixelwise(x), 1, axis=2)


def test_whole_image_is_the_network_s_own_answer(images):
    result = class_probabilities(pixelwise, images, Inference())
    np.testing.assert_allclose(result, jax.nn.softmax(pixelwise(images)), rtol=1e-6)


@pytest.mark.parametrize(
    "length, window", [(96, 32), (97, 32), (64, 64), (64, 512), (1024, 512), (2048, 512), (65, 64)]
)
def test_windows_cover_and_overlap_by_a_third(length, window):
    starts = window_starts(length, window)
    assert starts[0] == 0 and starts[-1] == max(0, length - window)
    steps = np.diff(starts)
    assert all(0 < step <= max(1, 2 * window // 3) + 1 for step in steps)
    assert len(starts) == len(set(starts))


def test_windows_of_a_pixelwise_network_make_the_whole_image(images):
    np.testing.assert_allclose(windowed_logits(pixelwise, images, (32, 32)), pixelwise(images), rtol=1e-5)
    half = lambda x: pixelwise(x)[:, ::2, ::2]  # noqa: E731
    constant = jnp.broadcast_to(images[:, :1, :1], images.shape)
    np.testing.assert_allclose(windowed_logits(half, constant, (32, 64)), pixelwise(constant), rtol=1e-5)
    np.testing.assert_allclose(windowed_logits(pixelwise, images, (512, 512)), pixelwise(images), rtol=1e-6)


def test_windows_are_averaged_where_they_overlap(images):
    place = lambda x: jnp.broadcast_to(jnp.arange(x.shape[2], dtype=jnp.float32)[:, None], (*x.shape[:3], 1))  # noqa: E731
    assert window_starts(96, 64) == [0, 32]
    row = windowed_logits(place, images, (64, 64))[0, 0, :, 0]
    x = np.arange(96)
    np.testing.assert_allclose(row, np.where(x < 32, x, np.where(x < 64, x - 16, x - 32)))


def test_mirroring_makes_the_prediction_symmetric(images):
    plain, both = (
        lambda x, flip=flip: class_probabilities(lopsided, x, Inference(flip=flip)) for flip in (False, True)
    )
    assert np.abs(plain(images[:, :, ::-1]) - plain(images)[:, :, ::-1]).max() > 0.1
    np.testing.assert_allclose(both(images[:, :, ::-1]), both(images)[:, :, ::-1], atol=1e-6)
    mirrored = plain(images[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_allclose(both(images), (plain(images) + mirrored) / 2, atol=1e-6)


def test_network_sees_the_input_size_at_every_scale(images):
    seen = []

    def predict(x):
        seen.append(x.shape[1:3])
        return pixelwise(x)[:, ::4, ::4]

    result = class_probabilities(predict, images, Inference((128, 192), scales=(0.5, 0.77, 1.0)))
    assert seen == [(64, 96), (96, 160), (128, 192)]
    assert result.shape == (2, 64, 96, 5)
    np.testing.assert_allclose(result.sum(-1), 1, rtol=1e-5)


def test_full_resolution_enlarges_logits_bilinearly_and_shrinks_images_without_aliasing(images):
    stripes = jnp.broadcast_to((jnp.arange(96) % 2)[None, None, :, None].astype(jnp.float32), (1, 64, 96, 3))
    grey = []
    class_probabilities(lambda x: grey.append(x) or pixelwise(x), stripes, Inference((32, 32)))
    inside = grey[0][:, :, 2:-2]
    np.testing.assert_allclose(inside, jnp.full_like(inside, 0.5), atol=0.1)
    ramp = lambda x: jnp.broadcast_to(jnp.linspace(0, 1, x.shape[2])[:, None], (*x.shape[:3], 1))  # noqa: E731
    two = lambda x: jnp.concatenate([ramp(x), 0 * ramp(x)], -1)  # noqa: E731
    result = class_probabilities(two, images, Inference((32, 32)))
    np.testing.assert_allclose(result[0, 0, :, 0], jax.nn.sigmoid(jnp.linspace(0, 1, 96)), atol=1e-5)


def test_protocol_in_words():
    assert Inference().describe((512, 1024)) == "input 512x1024, whole image"
    config = default_config()
    config.evaluation.update(window=(512, 512), flip=True, scales=(0.75, 1.0))
    validate(config)
    text = read_inference(config, (512, 1024)).describe((1024, 2048))
    assert text == "input 512x1024, scored at 1024x2048, windows of 512x512, mirrored, too, scales 0.75 1"
    config.evaluation.input_size = (1024, 2048)
    assert read_inference(config, (512, 1024)).describe((1024, 2048)).startswith("input 1024x2048, windows of 512x512")


@pytest.mark.parametrize("key, value", [("window", (500, 512)), ("input_size", (512,)), ("scales", (0.0, 1.0))])
def test_wrong_settings_are_refused(key, value):
    config = default_config()
    config.evaluation[key] = value
    with pytest.raises(UserError, match=rf"config\.evaluation\.{key}: "):
        validate(config)
