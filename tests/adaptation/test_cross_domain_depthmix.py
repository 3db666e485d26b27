"""Mixing source and target: masks, labels and confidence on hand-made cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.adaptation import cross_domain_mask, cross_domain_mix
from sdeseg_jax.mixing import quality
from sdeseg_jax.training.apply_named_mix import label_pool, mix_with_source
from sdeseg_jax.training.replication import AXIS

VOID = 255
KEYS = jax.random.split(jax.random.key(0), 200)


def mask_of(source, target, margin=0.03, keys=KEYS):
    """Masks of one pair of disparity maps [H, W] under every key."""
    maps = [
        jnp.broadcast_to(jnp.asarray(x, jnp.float32)[..., None], (len(keys), *np.shape(x), 1)) for x in (source, target)
    ]
    label = jnp.zeros((len(keys), *np.shape(source)), int)
    return np.asarray(cross_domain_mask("depth", keys, label, *maps, 4, margin))


def test_nearer_source_pixels_are_pasted_onto_the_target():
    source, target = [[0.9, 0.5, 0.1, 0.5]], [[0.5, 0.9, 0.5, 0.1]]
    assert (mask_of(source, target) == [[True, False, False, True]]).all()


def test_sign_of_the_margin_is_drawn_with_even_odds_and_decides_what_is_equally_far():
    masks = mask_of([[0.50, 0.50, 0.52, 0.48, 0.60]], [[0.50, 0.52, 0.50, 0.50, 0.50]])
    favours_source = masks[:, 0, 0]
    assert (masks[:, 0, :4] == favours_source[:, None]).all()  # all within the margin: one draw per sample
    assert masks[:, 0, 4].all()
    assert 70 < favours_source.sum() < 130  # of 200; five standard deviations are 35


def test_classes_of_the_source_are_pasted_as_dacs_does():
    label = jnp.broadcast_to(jnp.array([[0, 0, 1, 2, 3, VOID]]), (len(KEYS), 1, 6))
    masks = np.asarray(cross_domain_mask("class", KEYS, label, None, None, 4, 0.03))[:, 0]
    assert (masks[:, 0] == masks[:, 1]).all() and not masks[:, 5].any()
    assert (masks[:, [0, 2, 3, 4]].sum(1) == 2).all()  # half of the four classes
    assert masks[:, :5].any(0).all()


def test_rectangle_of_cutmix_has_half_the_area():
    masks = np.asarray(cross_domain_mask("cut", KEYS[:20], jnp.zeros((20, 32, 64), int), None, None, 4, 0.03))
    assert np.all(np.abs(masks.mean((1, 2)) - 0.5) < 0.03)


def test_mix_takes_source_labels_with_certainty_and_target_pixels_as_they_are():
    """Source void stays void and counts as certain; target void (annotated) and unsure pixels keep their confidence."""
    mask = jnp.array([[[True, True, False, False, False]]])
    source = (jnp.full((1, 1, 5, 3), 0.9), jnp.array([[[7, VOID, 7, 7, 7]]], jnp.uint8))
    target = (
        jnp.full((1, 1, 5, 3), 0.1),
        jnp.array([[[1, 2, 3, VOID, 4]]], jnp.int32),
        jnp.array([[[0.2, 0.2, 0.5, 1, 1]]]),
    )
    image, label, confidence = cross_domain_mix(mask, source, target)
    np.testing.assert_allclose(image[0, 0, :, 0], [0.9, 0.9, 0.1, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(label[0, 0], [7, VOID, 3, VOID, 4])
    np.testing.assert_allclose(confidence[0, 0], [1, 1, 0.5, 1, 1])
    np.testing.assert_allclose(quality(confidence, 0.968), [0.8])


def batches():
    rng = np.random.default_rng(0)

    def domain():
        return {
            "image": rng.random((4, 8, 16, 3), np.float32),
            "label": rng.integers(0, 5, (4, 8, 16)).astype(np.uint8),
            "disparity": rng.random((4, 8, 16, 1), np.float32),
        }

    source = domain()
    pool = {**domain(), "is_labeled": np.array([True, False, False, False])}
    pool["label"][1:] = VOID
    pool["label"][0, 0] = VOID
    return pool, source, rng.normal(0, 3, (4, 4, 8, 5)).astype(np.float32)


def test_annotated_and_pseudo_labelled_target_pixels_in_a_mix():
    pool, source, logits = batches()
    label, confidence = label_pool(pool, logits)
    mixed = jax.pmap(
        lambda *args: mix_with_source(*args, jax.random.key(1), "depth", 5), axis_name=AXIS, devices=jax.devices()[:1]
    )(*jax.tree.map(lambda x: jnp.asarray(x)[None], (source, (pool["image"], label, confidence), pool["disparity"])))
    mask = np.asarray(mixed.mask[0])
    np.testing.assert_array_equal(mixed.label[0], np.where(mask, source["label"], label))
    np.testing.assert_array_equal(label[0], pool["label"][0])  # annotated, void where the annotation is
    assert (np.asarray(label[1:]) < 5).all() and (np.asarray(confidence[0]) == 1).all()
    np.testing.assert_array_equal(np.asarray(mixed.confidence[0])[mask], 1.0)
    np.testing.assert_array_equal(np.asarray(mixed.confidence[0])[~mask], np.asarray(confidence)[~mask])
    assert 0.2 < mask.mean() < 0.8


@pytest.mark.parametrize("kind", ["depth", "class", "cut"])
def test_mixing_does_not_depend_on_the_number_of_devices(kind):
    pool, source, logits = batches()
    target = (pool["image"], *label_pool(pool, logits))
    results = []
    for devices in (1, 4):
        mapped = jax.pmap(
            lambda *args: mix_with_source(*args, jax.random.key(5), kind, 5),
            axis_name=AXIS,
            devices=jax.devices()[:devices],
        )
        parts = jax.tree.map(
            lambda x, n=devices: np.asarray(x).reshape(n, -1, *x.shape[1:]), (source, target, pool["disparity"])
        )
        results.append(jax.tree.map(lambda x: np.asarray(x).reshape(4, *x.shape[2:]), mapped(*parts)))
    jax.tree.map(np.testing.assert_array_equal, *results)
