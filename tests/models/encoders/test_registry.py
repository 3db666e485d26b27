"""What every encoder of the registry promises to the networks that are built on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.config.depth_settings import BACKBONES, POSE_BACKBONES
from sdeseg_jax.models.encoders import ENCODERS, encoder_name, make_encoder
from sdeseg_jax.models.encoders.efficientnet_lite import block_shapes
from sdeseg_jax.models.encoders.input_normalization import normalize

PAIR = [name for name in POSE_BACKBONES if ENCODERS[name].takes_pairs]


def shapes(backbone, channels=3, **settings):
    network = make_encoder(backbone, **settings)
    images = jax.ShapeDtypeStruct((1, 64, 96, channels), jnp.float32)
    return jax.eval_shape(lambda rng, x: network.init_with_output(rng, x, False), jax.random.key(0), images)


def test_settings_offer_the_encoders():
    assert set(BACKBONES) == set(ENCODERS) and all(ENCODERS[name].takes_pairs for name in POSE_BACKBONES)


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("backbone", sorted(ENCODERS))
def test_features(backbone, stride):
    features, variables = shapes(backbone, output_stride=stride)
    assert tuple(one.shape[-1] for one in features) == ENCODERS[backbone].channels
    strides = [min(one, stride) for one in (2, 4, 8, 16, 32)]
    assert [one.shape[1:3] for one in features] == [(64 // one, 96 // one) for one in strides]
    assert encoder_name(variables["params"]) == backbone


@pytest.mark.parametrize("backbone", PAIR)
def test_pairs_of_frames_and_narrow_networks(backbone):
    features, _ = shapes(backbone, channels=6, width=0.125)
    assert len(features) == 5 and features[-1].shape[-1] <= ENCODERS[backbone].channels[-1] / 7


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="encoder 'efficientnet_lite' is unknown; did you mean 'efficientnet_lite"):
        make_encoder("efficientnet_lite")


def test_frames_of_a_pair_are_normalised_alike():
    images = jnp.arange(2 * 6, dtype=jnp.float32).reshape(1, 1, 2, 6) / 12
    both = normalize(images, (0.1, 0.2, 0.3), (1.0, 2.0, 4.0))
    for frame in (slice(0, 3), slice(3, 6)):
        one = normalize(images[..., frame], (0.1, 0.2, 0.3), (1.0, 2.0, 4.0))
        np.testing.assert_array_equal(both[..., frame], one)
        np.testing.assert_allclose(one, (images[..., frame] - np.array([0.1, 0.2, 0.3])) / np.array([1, 2, 4]), 1e-6)


@pytest.mark.parametrize("name, count", [("efficientnet_lite0", 16), ("efficientnet_lite1", 21)])
def test_blocks_and_their_dilation(name, count):
    plain = block_shapes(name)
    assert len(plain) == count and all(block.dilation == 1 for block in plain)
    dilated = {stride: block_shapes("efficientnet_lite0", stride) for stride in (8, 16)}
    assert [(block.stride, block.dilation) for block in dilated[16][10:]] == [(1, 1), (1, 1), *[(1, 2)] * 4]
    assert [(block.stride, block.dilation) for block in dilated[8][4:]] == [
        (1, 1), (1, 1), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 4), (1, 4), (1, 4), (1, 4)
    ]  # fmt: skip
