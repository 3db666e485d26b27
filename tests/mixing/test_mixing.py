"""DepthMix, its baselines, pseudo-labels, mean teacher and losses: properties, and the release's numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.mixing import (
    classmix_mask,
    cutmix_mask,
    depthmix_mask,
    ema_decay,
    gaussian_blur,
    mix,
    next_sample,
    normalize_disparity,
    pseudo_labels,
    quality,
    strong_augmentation,
    supervised_cross_entropy,
    update_teacher,
    weighted_cross_entropy,
    with_ground_truth,
)
from sdeseg_jax.mixing.augmentation import MILD, STRONG, color_jitter, color_jitter_per_sample
from sdeseg_jax.mixing.segmentation_cross_entropy import inverse_frequency_weights
from sdeseg_jax.training.apply_named_mix import label_pool, mix_pool
from sdeseg_jax.training.replication import AXIS


def random(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def to_project_void(labels):
    """The reference files mark void by 250."""
    return np.where(labels == 250, 255, labels).astype(np.int32)


def test_depthmix_golden(golden):
    numbers = golden("depthmix")
    images, disparity = jnp.asarray(numbers["images"]), jnp.asarray(numbers["normalized_disparity"])
    mask = depthmix_mask(disparity, next_sample(disparity), float(numbers["margin"]))
    np.testing.assert_array_equal(mask, numbers["mask"].astype(bool))
    np.testing.assert_array_equal(mix(mask, images, next_sample(images)), numbers["mixed_images"])

    annotated = np.stack([to_project_void(numbers["labels"][0]), np.full((32, 64), 255)])
    label, confidence = with_ground_truth(
        *pseudo_labels(numbers["teacher_logits"]), jnp.asarray(numbers["is_labeled"]), jnp.asarray(annotated)
    )
    np.testing.assert_array_equal(mix(mask, label, next_sample(label)), to_project_void(numbers["mixed_labels"]))
    confidence = mix(mask, confidence, next_sample(confidence))
    np.testing.assert_allclose(confidence, numbers["mixed_confidence"], atol=1e-6)
    np.testing.assert_allclose(quality(confidence, float(numbers["tau"])), numbers["quality_per_image"], atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_mixed_pixels_come_from_one_of_the_two_and_the_nearer_one(samples):
    images, disparity = random(samples, 8, 16, 3), random(samples, 8, 16, 1, seed=1)
    mask = depthmix_mask(disparity, next_sample(disparity), margin=0.0)
    mixed = mix(mask, images, next_sample(images))
    for i in range(samples):
        j = (i + 1) % samples
        own_is_nearer = disparity[i, ..., 0] >= disparity[j, ..., 0]
        np.testing.assert_array_equal(mixed[i], np.where(own_is_nearer[..., None], images[i], images[j]))


def test_masks_of_a_pair_partition_the_image_without_margin_and_overlap_with_it():
    first, second = random(8, 16, 1), random(8, 16, 1, seed=1)
    one, other = depthmix_mask(first, second, 0.0), depthmix_mask(second, first, 0.0)
    assert np.all(one ^ other)
    assert np.all(depthmix_mask(first, second, 0.03) | depthmix_mask(second, first, 0.03))
    assert depthmix_mask(first, first, 0.03).all()


def test_normalized_disparity_spans_the_unit_interval_per_image():
    disparity = normalize_disparity(jnp.asarray(random(3, 4, 4, 1)) * jnp.array([1.0, 5, 0.01])[:, None, None, None])
    np.testing.assert_allclose(disparity.min((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(disparity.max((1, 2, 3)), 1, atol=1e-6)
    assert not normalize_disparity(jnp.full((1, 4, 4, 1), 0.3)).any()


@pytest.mark.parametrize("per_device", [1, 2])
def test_mixing_partner_does_not_depend_on_the_number_of_devices(per_device):
    x = jnp.arange(4 * per_device)
    across = jax.pmap(lambda part: next_sample(part, AXIS), axis_name=AXIS)(x.reshape(4, per_device))
    np.testing.assert_array_equal(across.reshape(-1), next_sample(x))
    np.testing.assert_array_equal(next_sample(x), np.roll(x, -1))


def test_pool_without_disparity_is_not_mixed():
    logits = random(2, 4, 8, 5) * 9
    pool = {
        "image": random(2, 8, 16, 3),
        "label": np.full((2, 8, 16), 3, np.uint8),
        "is_labeled": np.array([True, False]),
    }
    mixed = mix_pool((pool["image"], *label_pool(pool, logits)), None, jax.random.key(0), "none", 5)
    np.testing.assert_array_equal(mixed.image, pool["image"])
    assert mixed.mask.all() and np.all(mixed.label[0] == 3) and np.all(mixed.confidence[0] == 1)
    assert len(np.unique(mixed.label[1])) > 1 and mixed.label.shape == (2, 8, 16)


def class_map_with_void(seed=0):
    """Blocks of classes 1, 4, 6, 7, 9 of 11, and void."""
    classes = np.random.default_rng(seed).choice([1, 4, 6, 7, 9, 255], size=(4, 8))
    classes.flat[:6] = [1, 4, 6, 7, 9, 255]
    return np.kron(classes, np.ones((4, 4), int))


def test_classmix_takes_half_of_the_classes_as_a_whole():
    labels = class_map_with_void()
    masks = jax.vmap(lambda key: classmix_mask(key, labels, 11))(jax.random.split(jax.random.key(0), 200))
    chosen = [frozenset(np.unique(labels[mask])) for mask in np.asarray(masks)]
    for mask, classes in zip(np.asarray(masks), chosen, strict=True):
        assert len(classes) == 2 and 255 not in classes  # of five; void is not a class
        np.testing.assert_array_equal(mask, np.isin(labels, list(classes)))
    assert len(set(chosen)) == 10  # every pair is drawn
    shares = [np.mean([c in classes for classes in chosen]) for c in (1, 4, 6, 7, 9)]
    np.testing.assert_allclose(shares, 2 / 5, atol=0.12)


@pytest.mark.parametrize("classes, expected", [([3], 0), ([3, 255], 0), ([0, 3], 1), ([0, 1, 2, 3], 2), ([255], 0)])
def test_classmix_of_few_classes(classes, expected):
    labels = np.resize(classes, (4, 4))
    mask = np.asarray(classmix_mask(jax.random.key(1), labels, 4))
    assert len(np.unique(labels[mask])) == expected


@pytest.mark.parametrize("height, width", [(64, 64), (32, 96), (33, 47)])
def test_cutmix_cuts_one_rectangle_of_half_the_area(height, width):
    draw = jax.jit(jax.vmap(lambda key: cutmix_mask(key, height, width)))
    masks = np.asarray(draw(jax.random.split(jax.random.key(0), 100)))
    places = set()
    for mask in masks:
        rows, columns = np.flatnonzero(~mask.all(1)), np.flatnonzero(~mask.all(0))
        assert not mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any()
        assert (~mask).sum() == len(rows) * len(columns)
        assert abs((~mask).mean() - 0.5) < 1 / min(height, width) + 0.01
        assert len(columns) >= width // 2 and len(rows) >= height // 2
        places.add((rows[0], columns[0], len(columns)))
    assert len(places) > 90


@pytest.mark.parametrize("kind", ["class", "cut", "depth"])
def test_mixing_does_not_depend_on_the_number_of_devices(kind):
    pool = {
        "image": random(4, 16, 32, 3),
        "label": np.stack([class_map_with_void(seed) for seed in range(4)]).astype(np.uint8),
        "is_labeled": np.array([True, True, False, False]),
    }
    logits, disparity = random(4, 4, 8, 11, seed=3), random(4, 16, 32, 1, seed=4)

    def mixed(devices):
        split = lambda x: x.reshape(devices, 4 // devices, *x.shape[1:])  # noqa: E731
        function = jax.pmap(
            lambda pool, logits, disparity: mix_pool(
                (pool["image"], *label_pool(pool, logits)), disparity, jax.random.key(5), kind, 11
            ),
            axis_name=AXIS,
            devices=jax.devices()[:devices],
        )
        out = function(*jax.tree.map(split, (pool, logits, disparity)))
        return jax.tree.map(lambda x: np.asarray(x).reshape(4, *x.shape[2:]), out)

    one, four = mixed(1), mixed(4)
    jax.tree.map(np.testing.assert_array_equal, one, four)
    assert not one.mask.all() and one.mask.any()
    own, partner = pool["image"], np.roll(pool["image"], -1, axis=0)
    np.testing.assert_array_equal(one.image, np.where(one.mask[..., None], own, partner))


def test_teacher_decay_and_average():
    np.testing.assert_allclose([ema_decay(t) for t in (0, 1, 3, 98, 5000)], [0, 0.5, 0.75, 0.98989898, 0.99], rtol=1e-5)
    teacher, students = {"w": jnp.zeros(2)}, [{"w": jnp.full(2, float(v))} for v in (4, 8, 3)]
    for step, student in enumerate(students):
        teacher = update_teacher(teacher, student, jnp.asarray(step))
    np.testing.assert_allclose(teacher["w"], np.mean([4, 8, 3]), rtol=1e-6)


def test_cross_entropy_golden(golden):
    numbers = golden("functions")
    logits, labels = numbers["logits_quarter"], to_project_void(numbers["labels"])
    expected = numbers["cross_entropy_upsampled"]
    np.testing.assert_allclose(supervised_cross_entropy(logits, labels), expected, rtol=1e-5)
    # The reference weighted every pixel by 0.37.
    expected = numbers["cross_entropy_weighted"]
    np.testing.assert_allclose(weighted_cross_entropy(logits, labels, jnp.full(2, 0.37)), expected, rtol=1e-5)
    np.testing.assert_allclose(weighted_cross_entropy(logits, labels, jnp.full((2, 32, 64), 0.37)), expected, rtol=1e-5)


def test_cross_entropy_of_void_alone_is_zero_with_finite_gradient():
    labels = np.full((1, 8, 8), 255)
    loss, gradient = jax.value_and_grad(lambda logits: supervised_cross_entropy(logits, labels))(random(1, 4, 4, 3))
    assert loss == 0 and not np.any(gradient)


def test_class_weights_multiply_the_loss_of_their_class():
    logits, labels = random(1, 4, 4, 3), np.full((1, 4, 4), 2)
    plain = supervised_cross_entropy(logits, labels)
    np.testing.assert_allclose(
        supervised_cross_entropy(logits, labels, jnp.array([1.0, 1, 2.5])), 2.5 * plain, rtol=1e-6
    )


def test_inverse_frequency_weights():
    weights = inverse_frequency_weights(np.array([100, 25, 400, 0]))
    mean = 525 / 4
    np.testing.assert_allclose(weights[:3], np.sqrt(mean / np.array([100, 25, 400])), rtol=1e-5)
    assert weights[3] == 4


def test_strong_augmentation_changes_colours_only_and_keeps_the_range():
    images = jnp.asarray(random(2, 16, 16, 3))
    outputs = [strong_augmentation(jax.random.key(seed), images) for seed in range(12)]
    assert all(out.shape == images.shape and out.min() >= 0 and out.max() <= 1 for out in outputs)
    assert sum(not np.allclose(out, images) for out in outputs) >= 6
    flat = jnp.full((1, 16, 16, 3), 0.5)
    blurred = [gaussian_blur(jax.random.key(seed), flat) for seed in range(4)]
    np.testing.assert_allclose(blurred, np.broadcast_to(0.5, (4, 1, 16, 16, 3)), atol=1e-6)


def test_mild_jitter_is_one_draw_for_all_frames_of_a_sample():
    frames = jnp.broadcast_to(jnp.asarray(random(2, 8, 8, 3)), (3, 2, 8, 8, 3))
    keys = jax.random.split(jax.random.key(3), 2)
    out = color_jitter_per_sample(keys, frames, MILD)
    np.testing.assert_allclose(out[0], out[1], atol=1e-6)
    np.testing.assert_allclose(out[0], out[2], atol=1e-6)
    # Each sample's draw depends on its own key only.
    np.testing.assert_allclose(color_jitter_per_sample(keys[1:], frames[:, 1:], MILD)[0], out[0, 1:], atol=1e-6)


def test_mild_brightness_is_a_factor_and_strong_brightness_is_added():
    grey = jnp.stack([jnp.full((8, 8, 3), value) for value in (0.2, 0.4)])
    brightness = {}
    for name, jitter in (("mild", MILD), ("strong", STRONG)):
        alone = dataclasses.replace(jitter, probability=1.0, contrast=0.0, saturation=0.0, hue=0.0)
        draws = np.array([color_jitter(jax.random.key(seed), grey, alone)[:, 0, 0, 0] for seed in range(20)])
        brightness[name] = draws
    factor = brightness["mild"] / np.array([0.2, 0.4])
    np.testing.assert_allclose(factor[:, 0], factor[:, 1], rtol=1e-4)
    assert 0.8 <= factor.min() < 0.9 and 1.1 < factor.max() <= 1.2
    added = brightness["strong"] - np.array([0.2, 0.4])
    np.testing.assert_allclose(added[:, 0].clip(-0.2), added[:, 1].clip(-0.2), atol=1e-4)
    assert -0.25 <= added.min() < -0.1 and 0.1 < added.max() <= 0.25
