"""DINOv2 and DINOv3: against the transformers package; how images of any size, frozen weights and paths behave."""

import functools

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from flax import traverse_util

from sdeseg_jax.interop.weights.dino_weights import convert_dino, read_tree
from sdeseg_jax.models.encoders import ENCODERS, make_encoder
from sdeseg_jax.models.encoders.dino import DINOS, MEAN, STD, scaled
from sdeseg_jax.models.encoders.position_encodings import bicubic_matrix, resize_positions
from sdeseg_jax.models.encoders.vision_transformer import Shape, VisionTransformer
from sdeseg_jax.models.resize import resize_bilinear

TINY = {
    "dinov2": Shape(16, 2, 2, 14, 0, 5, 1e-6, (0, 1)),
    "dinov2_registers": Shape(16, 2, 2, 14, 4, 5, 1e-6, (0, 1)),
    "dinov3": Shape(16, 2, 2, 16, 4, 0, 1e-5, (0, 1)),
}
"""Networks of the golden file, with a grid of 5 x 5 learned positions."""
KINDS = ("dinov2_small", "dinov2_small_registers", "dinov3_small")


@pytest.mark.parametrize("size", ["3x4", "5x5", "9x6"])
@pytest.mark.parametrize("kind", TINY)
def test_tokens_are_those_of_transformers(golden, kind, size):
    """Random weights; fewer and more tokens than learned positions, and as many."""
    values = golden("dino_tiny")
    state = {key.split("/")[2]: value for key, value in values.items() if key.startswith(f"{kind}/weights/")}
    images, wanted = (values[f"{kind}/{name}/{size}"] for name in ("images", "tokens"))
    found = VisionTransformer(TINY[kind]).apply({"params": read_tree(state)}, images / np.float32(255), False)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * np.abs(other).max())


@pytest.mark.parametrize("kind", KINDS)
def test_small_networks_are_those_of_transformers(kind):
    """The real layout, random weights, and an image whose sides are no multiples of the patch."""
    torch, transformers = (pytest.importorskip(name, reason="an oracle") for name in ("torch", "transformers"))
    shape = DINOS[kind]
    common = {"hidden_size": shape.channels, "num_attention_heads": shape.heads, "num_hidden_layers": shape.blocks}
    if kind.startswith("dinov3"):
        config = transformers.DINOv3ViTConfig(intermediate_size=4 * shape.channels, num_register_tokens=4, **common)
        network = transformers.DINOv3ViTModel(config)
    elif shape.registers:
        config = transformers.Dinov2WithRegistersConfig(image_size=518, patch_size=14, num_register_tokens=4, **common)
        network = transformers.Dinov2WithRegistersModel(config)
    else:
        network = transformers.Dinov2Model(transformers.Dinov2Config(image_size=518, patch_size=14, **common))
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            noise = torch.from_numpy(rng.normal(scale=0.05 if value.ndim > 1 else 0.3, size=value.shape)).float()
            value.copy_(noise + float(name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "lambda1"))))
    network.eval()
    name, variables, _, _ = convert_dino({key: value.numpy() for key, value in network.state_dict().items()})
    assert name == kind
    images = rng.uniform(size=(1, 112, 208, 3)).astype(np.float32)
    encoder = make_encoder(kind, output_stride=16)
    full = encoder.init(jax.random.key(0), images, False)["params"]
    found = encoder.apply({"params": full | variables["params"]}, images, False)[-1]
    pixels = torch.from_numpy((images - np.float32(MEAN)) / np.float32(STD)).permute(0, 3, 1, 2)
    size = (7 * shape.patch, 13 * shape.patch)
    pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
    with torch.no_grad():
        wanted = network(pixels).last_hidden_state[:, 1 + shape.registers :].reshape(1, 7, 13, -1).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@functools.cache
def tiny_encoder(kind: str, **settings):
    """An encoder with a sixteenth of the channels, and its variables."""
    encoder = make_encoder(kind, width=1 / 16, **settings)
    return encoder, encoder.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False)


@pytest.mark.parametrize("size, stride", [((32, 48), 16), ((40, 56), 8), ((64, 96), 32)])
def test_images_of_any_size(size, stride):
    encoder, variables = tiny_encoder("dinov2_small", output_stride=stride)
    images = jax.random.uniform(jax.random.key(1), (2, *size, 3))
    features = encoder.apply(variables, images, False)
    assert [one.shape[1:3] for one in features] == [
        tuple(-(-side // min(2**level, stride)) for side in size) for level in range(1, 6)
    ]
    # The last feature is the tokens of the image, a patch for each 16 pixels.
    shape = scaled(DINOS["dinov2_small"], 1 / 16)
    rows, columns = (-(-side // 16) for side in size)
    resized = resize_bilinear((images - jnp.array(MEAN)) / jnp.array(STD), (14 * rows, 14 * columns))
    transformer = VisionTransformer(shape).apply({"params": variables["params"]["transformer"]}, resized, False)
    wanted = resize_bilinear(transformer[-1], features[-1].shape[1:3])
    np.testing.assert_allclose(features[-1], wanted, atol=1e-5)


def test_reassembled_pixels_lie_where_their_token_is():
    """A change of one 16 x 16 square of the image, with attention cut, changes the same square of the features."""
    encoder, variables = tiny_encoder("dinov3_small")
    params = traverse_util.flatten_dict(variables["params"])
    cut = {key: jnp.zeros_like(value) if key[-2:] == ("project", "kernel") else value for key, value in params.items()}
    images = jnp.zeros((1, 48, 64, 3))
    changed = images.at[:, 16:32, 48:64].set(1.0)
    both = encoder.apply({"params": traverse_util.unflatten_dict(cut)}, jnp.concatenate([images, changed]), False)
    for feature in both:
        rows, columns = np.nonzero(np.abs(feature[0] - feature[1]).max(-1) > 1e-6)
        scale = feature.shape[1] / 48
        assert set(rows) == set(range(round(16 * scale), round(32 * scale)))
        assert set(columns) == set(range(round(48 * scale), round(64 * scale)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_against_finite_differences(kind):
    shape = Shape(**{**vars(TINY[kind.replace("_small", "")]), "epsilon": 1e-2})  # tame where tokens vary little
    network, images = VisionTransformer(shape), jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    images = images[:, : 2 * shape.patch, : 2 * shape.patch]
    params = network.init(jax.random.key(0), images, False)["params"]
    weights = jax.random.normal(jax.random.key(2), (1, 2, 2, 16))

    def loss(params):
        return sum(jnp.sum(weights * one) for one in network.apply({"params": params}, images, False))

    with jax.default_matmul_precision("highest"):
        jax.test_util.check_grads(jax.jit(loss), (params,), order=1, modes=["rev"], atol=0.02, rtol=0.02, eps=2e-3)


def test_frozen_transformers_pass_gradients_to_their_reassembly_alone():
    encoder, variables = tiny_encoder("dinov2_small_registers")
    images = jax.random.uniform(jax.random.key(1), (1, 32, 32, 3))

    def loss(params, freeze):
        return sum(jnp.sum(one**2) for one in encoder.apply({"params": params}, images, True, freeze))

    frozen, free = (jax.grad(loss)(variables["params"], freeze) for freeze in (True, False))
    assert not any(leaf.any() for leaf in jax.tree.leaves(frozen["transformer"]))
    jax.tree.map(np.testing.assert_array_equal, frozen["reassembly"], free["reassembly"])
    assert all(leaf.any() for leaf in jax.tree.leaves(free["reassembly"]))
    assert any(leaf.any() for leaf in jax.tree.leaves(free["transformer"]))


@pytest.mark.parametrize("kind", ["dinov2_registers", "dinov3"])
def test_rematerialisation_and_bfloat16(kind):
    """Recomputed blocks give the same numbers; bfloat16 about the same, with float32 parameters."""
    shape, images = TINY[kind], jax.random.normal(jax.random.key(1), (1, 42, 42, 3))
    images = jax.image.resize(images, (1, 3 * shape.patch, 3 * shape.patch, 3), "nearest")
    plain = VisionTransformer(shape)
    params = plain.init(jax.random.key(0), images, False)["params"]

    def gradient(network):
        def loss(params):
            return jnp.sum(network.apply({"params": params}, images, True)[-1] ** 2)

        return jax.jit(jax.grad(loss))(params)

    again = gradient(VisionTransformer(shape, remat=True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient(plain), again)
    half = VisionTransformer(shape, dtype=jnp.bfloat16)
    assert jax.tree.all(jax.tree.map(lambda one: one.dtype == jnp.float32, params))
    found, wanted = (network.apply({"params": params}, images, False)[-1] for network in (half, plain))
    assert found.dtype == jnp.bfloat16 and np.abs(found - wanted).mean() < 0.03


def test_samples_drop_paths_as_a_whole():
    """The last block of two drops each of its branches at the full rate; the first one none."""
    shape = TINY["dinov2"]
    network, images = VisionTransformer(shape, drop_path=0.5), jnp.ones((64, 28, 28, 3))
    params = network.init(jax.random.key(0), images[:1], False)["params"]
    first, last = network.apply({"params": params}, images, True, rngs={"dropout": jax.random.key(1)})
    np.testing.assert_array_equal(first, jnp.broadcast_to(first[:1], first.shape))
    distinct = np.unique(np.asarray(last).reshape(64, -1).round(4), axis=0)
    assert len(distinct) == 4  # both branches, either, none
    assert any(np.allclose(one, first[0].ravel(), atol=1e-4) for one in distinct)
    plain = VisionTransformer(shape).apply({"params": params}, images[:1], True)
    np.testing.assert_array_equal(network.apply({"params": params}, images[:1], False)[1], plain[1])


def test_interpolated_positions():
    for antialias in (False, True):
        for source, target in ((5, 3), (5, 9), (37, 20)):
            matrix = bicubic_matrix(source, target, antialias)
            np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
            np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)  # no shift
        np.testing.assert_allclose(bicubic_matrix(6, 6, antialias), np.eye(6), atol=1e-7)
    # A plane stays a plane, away from the border, with the kernel of antialiasing.
    plane = jnp.stack(jnp.meshgrid(jnp.arange(8.0), jnp.arange(8.0), indexing="ij"), -1).reshape(64, 2)
    resized = resize_positions(plane, (16, 16), antialias=True).reshape(16, 16, 2)
    np.testing.assert_allclose(np.diff(resized[4:-4, 4:-4, 0], axis=0), 0.5, atol=1e-5)
    np.testing.assert_allclose(np.diff(resized[4:-4, 4:-4, 1], axis=1), 0.5, atol=1e-5)


def test_registry_says_what_suits_them():
    for name in DINOS:
        encoder = ENCODERS[name]
        assert not encoder.takes_pairs and encoder.rates.adamw and not encoder.rates.feature_distance
    with pytest.raises(ValueError, match="drop_path=0.1 is for Vision Transformers; resnet18 has no paths"):
        make_encoder("resnet18", drop_path=0.1)
