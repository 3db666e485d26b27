import numpy as np
import pytest

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.drawing.disparity_and_error_colors import colorize
from sdeseg_jax.report import panels


@pytest.fixture
def scene():
    """Depth of a road: sky on top, then far to near; image as bright as it is near. One frame, [1, 8, 6]."""
    depth = np.repeat(np.array([np.inf, 80, 40, 20, 10, 8, 6, 5], np.float32)[:, None], 6, axis=1)[None]
    return depth, np.repeat((5 / depth)[..., None], 3, axis=-1)


def test_depth_panel_has_top_on_top_and_one_scale_for_both(scene):
    truth, image = scene
    (row,) = panels.depth_rows(["a"], image, np.where(np.isfinite(truth), truth, 200) / 7, truth, cap=50.0)
    shown_image, predicted, true, error = (picture.pixels for picture in row)
    for pixels in (shown_image, predicted, true):
        brightness = pixels.astype(int).sum(axis=(1, 2))
        assert brightness[0] < brightness[3] < brightness[-1]
    # A prediction that is right up to scale looks like the truth, except in the sky, which is black in the truth.
    np.testing.assert_array_equal(predicted[1:], true[1:])
    assert not true[0].any() and predicted[0].any()
    # Zero error, but black in the sky and beyond the cap.
    assert not error[:2].any()
    assert (error[2:] == error[2, 0]).all()
    assert "7" in row[1].caption and "0.000" in row[3].caption


def test_depth_panel_shows_where_the_error_is(scene):
    truth, image = scene
    prediction = np.where(np.isfinite(truth), truth, 200.0)
    prediction[0, -1, :3] *= 3
    (row,) = panels.depth_rows(["a"], image, prediction, truth, cap=50.0)
    error = row[3].pixels.astype(int)
    assert (error[-1, :3] != error[-1, 3:]).any(axis=-1).all()
    np.testing.assert_array_equal(error[2:-1], np.broadcast_to(error[2, 0], error[2:-1].shape))


def test_depth_panel_without_any_truth_does_not_fail(scene):
    truth, image = scene
    unknown = np.full_like(truth, np.inf)
    (row,) = panels.depth_rows(["a"], image, np.ones_like(truth), unknown, cap=50.0)
    assert not row[2].pixels.any() and "no pixel" in row[3].caption
    assert panels.nearest_depth(unknown, 50.0) > 0


def test_disparity_rows_put_two_frames_in_a_row(scene):
    _, image = scene
    rows = panels.disparity_rows(["a", "b", "c"], np.repeat(image, 3, 0), np.repeat(image[..., 0], 3, 0))
    assert [len(row) for row in rows] == [4, 2]
    assert rows[0][2].caption == "b"


def test_mix_pairs_shows_the_nearer_frame_with_its_label():
    images = np.stack([np.full((2, 3, 3), 0.2), np.full((2, 3, 3), 0.8)])
    # Scaled per frame: the left column of A is near, the right column of B; the middle is equal, so A wins.
    disparities = np.array([[[8.0, 0, 0]] * 2, [[0.0, 0, 0.5]] * 2])[..., None]
    teacher = np.full((2, 2, 3), 4), np.full((2, 2, 3), 0.5)
    annotations = np.full((2, 2, 3), 7, np.uint8)
    (pair,) = panels.mix_pairs(
        ["a", "b"], np.array([True, False]), images, teacher, annotations, disparities, margin=0.03, threshold=0.9
    )
    np.testing.assert_array_equal(pair.mask, [[True, True, False]] * 2)
    np.testing.assert_allclose(pair.image[0, :, 0], [0.2, 0.2, 0.8])
    np.testing.assert_array_equal(pair.label[0], [7, 7, 4])
    np.testing.assert_array_equal(pair.confidence[0], [1, 1, 0.5])
    assert pair.quality == pytest.approx(2 / 3) and pair.annotated == (True, False) and pair.ids == ("a", "b")


def test_depthmix_rows(random):
    mask = np.zeros((4, 6), bool)
    mask[:1] = True
    pair = panels.MixedPair(
        ids=("first", "second"),
        annotated=(True, False),
        images=random.random((2, 4, 6, 3)),
        disparities=random.random((2, 4, 6)),
        mask=mask,
        image=random.random((4, 6, 3)),
        label=np.full((4, 6), 11),
        confidence=np.ones((4, 6)),
        quality=0.25,
    )
    top, bottom = panels.depthmix_rows(pair, CITYSCAPES)
    assert top[0].caption == "A: first (annotated)" and bottom[0].caption == "B: second (no annotation)"
    assert "25 %" in top[2].caption and (top[2].pixels[0] == 255).all() and not top[2].pixels[1:].any()
    assert "0.25" in bottom[2].caption
    assert (bottom[3].pixels == (220, 20, 60)).all() and not bottom[3].smooth


def test_prediction_rows_score_labelled_pixels_only():
    label = np.array([[[0, 0, 255, 1]]], np.uint8)
    predicted = {"baseline": np.array([[[1, 1, 1, 1]]]), "method": np.array([[[0, 0, 0, 1]]])}
    (row,) = panels.prediction_rows(["a"], np.zeros((1, 1, 4, 3)), label, predicted, CITYSCAPES)
    assert [picture.caption for picture in row] == ["a", "truth", "baseline, 33 % of pixels", "method, 100 % of pixels"]
    np.testing.assert_array_equal(row[1].pixels[0, 2], (0, 0, 0))
    void = panels.prediction_rows(["a"], np.zeros((1, 1, 4, 3)), np.full_like(label, 255), predicted, CITYSCAPES)
    assert void[0][2].caption == "baseline"


def test_reprojection_panel_has_one_scale_for_both_errors(random):
    images, disparities = random.random((2, 8, 12, 3)), np.linspace(0, 1, 2 * 8 * 12).reshape(2, 8, 12)
    identity = np.full((2, 8, 12), 0.4)
    first, second = panels.reprojection_rows(["a", "b"], images, disparities, identity / 4, identity)
    assert [len(row) for row in (first, second)] == [4, 4] and first[0].caption == "a"
    assert "0.100" in second[2].caption and "0.400" in second[3].caption
    worst, quarter = first[3].pixels, first[2].pixels
    np.testing.assert_array_equal(worst, colorize(np.ones((8, 12)), 0, 1, "YlOrRd"))
    np.testing.assert_array_equal(quarter, colorize(np.full((8, 12), 0.25), 0, 1, "YlOrRd"))
    assert first[1].pixels[0].sum() < first[1].pixels[-1].sum()  # bright is near
