"""Source frames mixed into target frames: order, pixels, captions."""

import re

import numpy as np
import pytest

from sdeseg_jax.adaptation import geometric_difference, log_disparity
from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.report import picture_sections
from sdeseg_jax.report.adaptation_panels import Target, cross_domain_rows, mix_candidates

SHAPE = (32, 48)


@pytest.fixture(scope="module")
def shown():
    rng = np.random.default_rng(0)
    target = Target(
        "frame_7",
        False,
        rng.random((*SHAPE, 3)),
        rng.integers(0, 19, SHAPE),
        rng.random(SHAPE, np.float32),
        rng.random(SHAPE),
    )
    source = {
        "image": rng.random((4, *SHAPE, 3)),
        "label": rng.integers(0, 19, (4, *SHAPE)),
        "disparity": rng.random((4, *SHAPE)),
    }
    source["disparity"][2] = 0.9 * target.disparity + 0.05  # the nearest
    mixes = mix_candidates(target, ["a", "b", "c", "d"], source, "depth", 0.03, 0.968, 19, 0)
    return target, source, mixes


def test_candidates_are_sorted_by_their_difference(shown):
    target, source, mixes = shown
    assert mixes[0].id == "c" and sorted(mix.id for mix in mixes) == list("abcd")
    values = [mix.difference for mix in mixes]
    assert values == sorted(values)
    for mix in mixes:
        i = "abcd".index(mix.id)
        own = geometric_difference(log_disparity(target.disparity), log_disparity(source["disparity"][i]))
        assert mix.difference == pytest.approx(own)


def test_mixes_show_the_nearer_of_the_two(shown):
    target, source, mixes = shown
    for mix in mixes:
        i = "abcd".index(mix.id)
        nearer = source["disparity"][i] - target.disparity
        assert mix.mask[nearer > 0.031].all() and not mix.mask[nearer < -0.031].any()
        seen = np.where(mix.mask[..., None], source["image"][i], target.image)
        np.testing.assert_allclose(mix.mixed_image, seen, rtol=1e-6)
        np.testing.assert_array_equal(mix.mixed_label, np.where(mix.mask, source["label"][i], target.label))
        sure = np.where(mix.mask, 1.0, target.confidence) > 0.968
        assert mix.quality == pytest.approx(sure.mean(), abs=1e-6)


def test_section_says_what_is_shown(shown):
    target, _, mixes = shown
    rows = cross_domain_rows(target, mixes, CITYSCAPES)
    assert [len(row) for row in rows] == [4] + [5] * 4
    page = str(
        picture_sections.adaptation_section([rows], "depth", 0.03, CITYSCAPES, {"matched": 0.021, "random": 0.055})
    )
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert captions[0] == "target: frame_7" and "pseudo-label" in captions[3]
    assert captions[4] == "source: c" and captions[5].endswith("the nearest: taken") and "taken" not in captions[10]
    for mix, row in zip(mixes, rows[1:], strict=True):
        np.testing.assert_array_equal(row[2].pixels[..., 0] == 255, mix.mask)
        assert row[2].caption == f"paste mask: white shows the source ({100 * mix.mask.mean():.0f} %)"
    assert "0.0210 on average" in page and "0.0550" in page
    assert "whichever of the two is nearer" in page
    other = str(picture_sections.adaptation_section([rows], "class", 0.03, CITYSCAPES))
    assert "on average" not in other and "Half of the source" in other and "nearer" not in other
