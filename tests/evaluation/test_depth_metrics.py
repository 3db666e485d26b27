"""Depth metrics against values computed by hand; median scaling, cap, priors."""

import numpy as np
import pytest

from sdeseg_jax.evaluation.depth_metrics import depth_errors, depth_scores, pixel_priors

TRUTH = np.array([[10.0, 20.0, 40.0]])
PREDICTION = np.array([[12.0, 20.0, 30.0]])  # its median is right: no scaling


def test_by_hand():
    (abs_rel, sq_rel, rmse, rmse_log, a1, a2, a3), scale = depth_errors(PREDICTION, TRUTH)
    assert scale == 1
    assert abs_rel == pytest.approx((0.2 + 0 + 0.25) / 3)
    assert sq_rel == pytest.approx((4 / 10 + 0 + 100 / 40) / 3)
    assert rmse == pytest.approx(np.sqrt((4 + 0 + 100) / 3))
    assert rmse_log == pytest.approx(np.sqrt((np.log(1.2) ** 2 + np.log(0.75) ** 2) / 3))
    assert (a1, a2, a3) == pytest.approx((2 / 3, 1, 1))  # 40/30 is beyond 1.25, within 1.25^2


def test_scale_of_the_prediction_does_not_matter():
    expected, _ = depth_errors(PREDICTION, TRUTH)
    errors, scale = depth_errors(PREDICTION / 7, TRUTH)
    np.testing.assert_allclose(errors, expected)
    assert scale == pytest.approx(7)
    shuffled, _ = depth_errors(PREDICTION[:, ::-1], TRUTH)
    assert not np.allclose(shuffled, expected)


def test_pixels_beyond_the_cap_and_unknown_ones_do_not_count():
    unknown = np.array([[np.inf, np.nan, 0.0, 51.0, -1.0]])
    truth, prediction = np.hstack([TRUTH, unknown]), np.hstack([PREDICTION, np.full((1, 5), 1e3)])
    np.testing.assert_allclose(depth_errors(prediction, truth)[0], depth_errors(PREDICTION, TRUTH)[0])
    with_51 = depth_errors(prediction, truth, cap=51.0)[0]
    assert with_51[0] > depth_errors(PREDICTION, TRUTH)[0][0]


def test_predictions_are_clipped_to_the_cap_after_scaling():
    prediction = np.array([[5.0, 10.0, 1000.0]])  # times 2: 10, 20, 2000 -> 50
    (abs_rel, *_), scale = depth_errors(prediction, TRUTH, cap=50.0)
    assert scale == 2 and abs_rel == pytest.approx(0.25 / 3)


def test_scores_are_means_over_images():
    scores = depth_scores([(PREDICTION, TRUTH), (TRUTH / 3, TRUTH), (TRUTH, np.full((1, 3), np.inf))])
    assert scores.images == 2  # the third has no known depth
    assert scores.abs_rel == pytest.approx(0.45 / 3 / 2) and scores.a1 == pytest.approx(5 / 6)
    assert scores.median_scale == pytest.approx(2) and scores.scale_spread == pytest.approx(0.5)
    assert set(scores.to_json()) >= {"abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3", "images"}


def test_no_valid_pixel_at_all():
    sky = np.full((2, 3), np.inf)
    assert depth_errors(np.ones((2, 3)), sky) is None
    with pytest.raises(ValueError, match="no image has a pixel with known depth up to 30.0 m"):
        depth_scores([(np.ones((2, 3)), sky), (np.ones((2, 3)), np.full((2, 3), 31.0))], cap=30.0)


def test_priors_per_pixel():
    depths = [np.array([[10.0, 5.0, np.inf]]), np.array([[20.0, 60.0, 0.0]]), np.array([[60.0, 7.0, np.nan]])]
    depths += [np.array([[12.0, 9.0, 99.0]])]
    priors = pixel_priors(depths, cap=50.0)
    np.testing.assert_allclose(priors["mean"], [[14.0, 7.0, 50.0]])  # 60 m do not count; unknown: the cap
    np.testing.assert_allclose(priors["median"], [[12.0, 7.0, 50.0]])


def test_a_prior_scores_like_any_prediction():
    rng = np.random.default_rng(0)
    truths = [np.linspace(2, 40, 12).reshape(3, 4) * rng.uniform(0.9, 1.1, (3, 4)) for _ in range(5)]
    prior = pixel_priors(truths)["mean"]
    good = depth_scores([(prior, truth) for truth in truths])
    constant = depth_scores([(np.ones((3, 4)), truth) for truth in truths])
    assert good.abs_rel < 0.1 < constant.abs_rel and good.a1 > constant.a1
