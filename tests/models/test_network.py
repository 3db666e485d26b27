"""Shapes, precision, training behaviour and error messages of the whole network, at small widths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.models import Network, build_network
from sdeseg_jax.models.decoder import DisparityHeads

SMALL = {"backbone": "resnet10", "width": 0.125, "decoder_channels": (4, 6, 8, 8, 8), "num_classes": 5}
SMALL |= {"pose_width": 0.125, "dropout": 0.0}
IMAGES = jax.random.uniform(jax.random.key(0), (2, 32, 64, 3))


def small(**fields):
    return Network(**{**SMALL, **fields})


@pytest.fixture
def initialized(random_variables):
    def make(**fields):
        network = small(**fields)
        return network, random_variables(network, IMAGES.shape)

    return make


def shapes(network):
    init = functools.partial(network.init_with_output, method="init_all")
    (predictions, pose), variables = jax.eval_shape(init, jax.random.key(0), IMAGES)
    return predictions, pose, variables


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("head_level", [0, 1])
def test_output_shapes(stride, head_level):
    predictions, pose, variables = shapes(
        small(output_stride=stride, head_level=head_level, distillation=True, pose=True)
    )
    assert [d.shape for d in predictions.disparities] == [(2, 32 // 2**s, 64 // 2**s, 1) for s in range(4)]
    assert predictions.logits.shape == (2, 32 // 2**head_level, 64 // 2**head_level, 5)
    assert predictions.intermediate_logits.shape == (2, 8, 16, 5)
    assert predictions.bottleneck.shape == (2, 32 // stride, 64 // stride, 64)
    assert predictions.decoder_features.shape == (2, 4, 8, 8)
    assert pose.axisangle.shape == pose.translation.shape == (2, 3)
    assert set(variables["params"]) == {"encoder", "depth_decoder", "segmentation_decoder", "distillation", "pose"}


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"segmentation": False, "pose": True}, {"encoder", "depth_decoder", "pose"}),
        ({"depth": False}, {"encoder", "segmentation_decoder"}),
        ({"depth": False, "distillation": True}, {"encoder", "depth_decoder", "segmentation_decoder", "distillation"}),
    ],
)
def test_a_network_has_only_its_parts(fields, parts):
    predictions, pose, variables = shapes(small(**fields))
    assert set(variables["params"]) == parts
    assert (predictions.disparities is None) == ("depth_decoder" not in parts)
    assert (predictions.logits is None) == ("segmentation_decoder" not in parts)
    assert (pose is None) == ("pose" not in parts)


@pytest.mark.parametrize("head", ["projection", "half_resolution"])
def test_segmentation_heads_give_full_resolution(head):
    predictions, _, variables = shapes(small(segmentation_head=head, decoder_norm=True))
    assert predictions.logits.shape == (2, 32, 64, 5)
    blocks = variables["params"]["segmentation_decoder"]["blocks"]
    assert ("block0" in blocks) == (head == "projection")


def test_bfloat16_computes_close_to_float32_and_puts_out_float32(initialized):
    network, variables = initialized(distillation=True, pose=True)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    run = jax.jit(lambda net, v: net.apply(v, IMAGES, False, method="init_all"), static_argnums=0)
    (exact, exact_pose), (rough, rough_pose) = (
        run(net, variables) for net in (network, network.clone(dtype="bfloat16"))
    )
    assert rough.bottleneck.dtype == jnp.bfloat16
    pairs = [*zip(exact.disparities, rough.disparities, strict=True), (exact.logits, rough.logits)]
    pairs += [(exact.intermediate_logits, rough.intermediate_logits), (exact_pose.translation, rough_pose.translation)]
    for a, b in pairs:
        assert b.dtype == jnp.float32
        assert jnp.abs(a - b).max() < 0.05 * jnp.abs(a).max() + 1e-6


def _loss(network, params, stats, **options):
    predictions, updated = network.apply(
        {"params": params, "batch_stats": stats}, IMAGES, True, mutable=["batch_stats"], **options
    )
    outputs = [predictions.logits, *(predictions.disparities or ())[:1]]
    return sum((output**2).mean() for output in outputs), updated["batch_stats"]


def _gradients(network, variables, **options):
    step = jax.value_and_grad(functools.partial(_loss, network, **options), has_aux=True)
    return jax.jit(step)(variables["params"], variables["batch_stats"])


def test_rematerialisation_changes_no_number(initialized):
    # One decoder: two gradients of the whole network would take half a minute to compile.
    network, variables = initialized(depth=False)
    again = network.clone(remat=True)
    tree = jax.eval_shape(lambda rng: again.init(rng, IMAGES, False), jax.random.key(1))
    assert jax.tree.structure(tree) == jax.tree.structure(variables)
    program = str(jax.make_jaxpr(lambda v: again.apply(v, IMAGES, False))(variables))
    assert program.count("checkpoint[") + program.count("remat") >= 4 + 5  # residual and decoder blocks
    plain, remat = (_gradients(net, variables) for net in (network, again))
    # Sums are reordered by the compiler, and batches of 2 amplify it in the pooled branch's BatchNorm.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), plain, remat)


def test_a_frozen_encoder_learns_nothing_and_normalises_as_before(initialized):
    network, variables = initialized(distillation=True)
    (loss, stats), gradients = _gradients(network, variables, freeze_encoder=True)
    unfrozen, same_stats = jax.jit(functools.partial(_loss, network))(variables["params"], variables["batch_stats"])
    np.testing.assert_allclose(loss, unfrozen, rtol=1e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), stats, same_stats)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients["encoder"]))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradients["segmentation_decoder"]))
    moved = jax.tree.map(lambda a, b: np.any(a != b), stats["encoder"], variables["batch_stats"]["encoder"])
    assert any(jax.tree.leaves(moved))


def test_synchronised_batchnorm_sees_the_whole_batch(initialized):
    network, variables = initialized(distillation=True)
    synchronised = network.clone(axis_name="devices")

    def run(net, images):
        return net.apply(variables, images, True, mutable=["batch_stats"])

    whole, whole_stats = jax.jit(functools.partial(run, network))(IMAGES)
    split = jax.vmap(functools.partial(run, synchronised), axis_name="devices")
    parts, parts_stats = jax.jit(split)(IMAGES[:, None])
    np.testing.assert_allclose(parts.disparities[0][:, 0], whole.disparities[0], rtol=1e-3, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-3, atol=1e-4), parts_stats, whole_stats)


def test_a_single_image_can_be_trained_on(initialized):
    network, variables = initialized(distillation=True)
    gradient = jax.grad(
        lambda params: network.apply({**variables, "params": params}, IMAGES[:1], True, mutable=["batch_stats"])[
            0
        ].logits.sum()
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(jax.jit(gradient)(variables["params"])))


def test_priors_of_training_from_scratch(initialized):
    network, variables = initialized(distillation=True, pose=True)
    frames = (IMAGES, IMAGES[::-1])
    pose = network.apply(variables, *frames, False, method="predict_pose")
    prior = network.clone(pose_rotation_scale=0.1, pose_translation_bias=(0.0, 0.0, -0.5))
    shifted = prior.apply(variables, *frames, False, method="predict_pose")
    np.testing.assert_allclose(shifted.axisangle, 0.1 * pose.axisangle, rtol=1e-5)
    np.testing.assert_allclose(shifted.translation - pose.translation, [[0, 0, -0.5]] * 2, atol=1e-6)


def test_disparity_starts_from_its_bias():
    features = {scale: jnp.zeros((1, 4, 4, 2)) for scale in range(4)}
    disparities, _ = DisparityHeads(bias=-2.0).init_with_output(jax.random.key(0), features)
    np.testing.assert_allclose(disparities[3], jax.nn.sigmoid(-2.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backbone": "resnet_101"}, "backbone='resnet_101' is unknown; did you mean 'resnet101'?"),
        ({"pose_backbone": "vit"}, "valid: 'efficientnet_lite0'"),
        ({"segmentation_head": "projektion"}, "did you mean 'projection'?"),
        ({"output_stride": 4}, "output_stride=4 must be 8, 16 or 32"),
        ({"dtype": "bfloat"}, "did you mean 'bfloat16'?"),
        ({"decoder_channels": (64, 64)}, "5 entries"),
        ({"segmentation": False, "distillation": True}, "needs segmentation=True"),
        ({"head_level": 2}, "head_level=2 must be 0 or 1"),
    ],
)
def test_invalid_fields(fields, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        Network(**fields)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 32, 64, 1), "repeat grey images"),
        ((32, 64, 3), "must be "),
        ((2, 40, 60, 3), "next larger valid size is 48×64"),
        ((2, 16, 64, 3), "next larger valid size is 32×64"),
    ],
)
def test_invalid_images(shape, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda x: small().init(jax.random.key(0), x, False), jax.ShapeDtypeStruct(shape, jnp.float32))


def test_pose_without_a_pose_network(initialized):
    network, variables = initialized(distillation=True)
    with pytest.raises(ValueError, match="pose=False"):
        network.apply(variables, IMAGES, IMAGES, False, method="predict_pose")


def test_build_network_from_a_config():
    config = {**SMALL, "decoder_channels": [4, 6, 8, 8, 8]}
    network = build_network(config, axis_name="devices")
    assert network == small(axis_name="devices")
    with pytest.raises(ValueError, match="unknown model field 'ouput_stride'; did you mean 'output_stride'"):
        build_network({"ouput_stride": 16})
