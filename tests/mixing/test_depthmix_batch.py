"""`depthmix`: the mix of a whole batch in one call, as the training step does it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdeseg_jax.mixing import depthmix, normalize_disparity
from sdeseg_jax.training.apply_named_mix import mix_pool
from sdeseg_jax.training.replication import AXIS

MAKE = np.random.default_rng(0)
IMAGES = MAKE.uniform(size=(3, 8, 12, 3)).astype(np.float32)
LABELS = MAKE.integers(0, 19, (3, 8, 12))
DISPARITIES = (5 * MAKE.uniform(size=(3, 8, 12, 1))).astype(np.float32)


def test_mix_is_that_of_the_training_step():
    def step(image, label, disparity):
        target = (image, label, jnp.ones(label.shape))
        return mix_pool(target, normalize_disparity(disparity), jax.random.key(0), "depth", 19)

    one_device = jax.vmap(step, axis_name=AXIS)(IMAGES[None], LABELS[None], DISPARITIES[None])
    found = depthmix(IMAGES, LABELS, DISPARITIES)
    for name in ("image", "label", "mask"):
        np.testing.assert_array_equal(getattr(found, name), getattr(one_device, name)[0])


def test_every_pixel_comes_from_the_image_or_the_next_with_its_label():
    found = jax.jit(depthmix)(IMAGES, LABELS, DISPARITIES[..., 0])
    for own, values in ((IMAGES, found.image), (LABELS, found.label)):
        partner = np.roll(own, -1, axis=0)
        mask = np.asarray(found.mask).reshape(*found.mask.shape, *[1] * (own.ndim - 3))
        np.testing.assert_array_equal(values, np.where(mask, own, partner))
    assert 0.2 < np.mean(found.mask) < 0.8


def test_scale_and_offset_of_a_disparity_do_not_matter():
    scaled = DISPARITIES * np.array([1, 7, 0.5], np.float32)[:, None, None, None] + 3
    np.testing.assert_array_equal(depthmix(IMAGES, LABELS, scaled).mask, depthmix(IMAGES, LABELS, DISPARITIES).mask)


@pytest.mark.parametrize(
    "images, labels, disparities, message",
    [
        (IMAGES[:1], LABELS[:1], DISPARITIES[:1], "at least two images"),
        (IMAGES[0], LABELS[0], DISPARITIES[0], r"expected \[B, H, W, C\]"),
        (IMAGES, LABELS[:2], DISPARITIES, r"labels \(2, 8, 12\)"),
        (IMAGES, LABELS, DISPARITIES[:, :4], r"disparities \(3, 4, 12, 1\)"),
    ],
)
def test_wrong_shapes(images, labels, disparities, message):
    with pytest.raises(ValueError, match=message):
        depthmix(images, labels, disparities)
