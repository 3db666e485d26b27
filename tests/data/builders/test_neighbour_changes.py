"""Neighbours that are nearly the same or differ by a cut are found, and depth is not learned from them."""

import io

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.config import SETTINGS, ConfigError, default_config
from sdeseg_jax.data.builders.neighbour_changes import changes_in_clips, compare, difference, match, small_grey
from sdeseg_jax.data.builders.neighbour_counts import neighbour_counts, neighbour_lines
from sdeseg_jax.data.frame_dataset import FrameDataset, FrameIndex
from sdeseg_jax.data.preparation import report_text
from sdeseg_jax.data.streets.clip_renderer import render_task
from sdeseg_jax.runs.training_frames import depth_candidates, left_out_of_depth

MIN_DIFFERENCE, MIN_MATCH = (SETTINGS[f"video.{name}"].default for name in ("min_difference", "min_match"))


@pytest.fixture(scope="module")
def clips():
    """Eight clips of Streets, four frames each, uint8 [8, 4, 96, 192, 3]."""
    common = dict(height=96, width=192, seed=0, domain="target", split="train", frames=4)
    return np.stack([render_task(dict(common, index=index))["image"] for index in range(8)])


def again(pixels, sigma, quality):
    """The same view with noise and compression."""
    noisy = np.clip(pixels + np.random.default_rng(0).normal(0, sigma, pixels.shape), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=quality)
    return small_grey(Image.open(stream))


def test_no_frame_of_streets_is_left_out(clips):
    for frames in clips:
        for changed, found in compare(np.stack([small_grey(Image.fromarray(image)) for image in frames])):
            assert changed >= MIN_DIFFERENCE and found >= MIN_MATCH


@pytest.mark.parametrize("sigma, quality", [(0, 95), (0, 75), (1, 90)])
def test_the_same_view_again(clips, sigma, quality):
    for image in clips[:, 0]:
        assert difference(small_grey(Image.fromarray(image)), again(image, sigma, quality)) < MIN_DIFFERENCE


def test_cuts(clips):
    """Half of those between streets that look alike, and all to another look."""
    grey = [small_grey(Image.fromarray(image)) for image in clips[:, 0]]
    found = [match(first, second) < MIN_MATCH for first in grey for second in grey if first is not second]
    assert np.mean(found) >= 0.5
    assert all(match(one, 255 - two) < MIN_MATCH for one in grey[:4] for two in grey[4:])
    assert match(grey[0], np.zeros_like(grey[0])) < MIN_MATCH  # faded to black


def test_images_without_texture_tell_nothing():
    assert np.isnan(match(np.full((32, 64), 9, np.uint8), np.full((32, 64), 200, np.uint8)))


def test_clips_are_not_compared_with_each_other(clips):
    grey = np.stack([small_grey(Image.fromarray(image)) for image in clips[:2].reshape(-1, 96, 192, 3)])
    changes = changes_in_clips(grey, [4, 4], processes=1)
    for values in changes.values():
        assert [place for place, value in enumerate(values) if value is None] == [0, 4]
    assert changes_in_clips(grey[:0], []) == {"difference": [], "match": []}


def test_workers_compare_as_one_process_does(clips, monkeypatch):
    grey = np.stack([small_grey(Image.fromarray(image)) for image in clips[0]] * 2)
    monkeypatch.setattr("sdeseg_jax.data.builders.neighbour_changes._CHUNK", 3)
    assert changes_in_clips(grey, [8], processes=2) == changes_in_clips(grey, [8], processes=1)


def index(differences, matches):
    names = [str(place) for place in range(len(differences))]
    changes = {"difference": differences, "match": matches}
    return FrameIndex.from_clips([("a", names)], changes=changes)


def test_both_frames_of_a_pair_are_left_out():
    found = index([None, 50, 1, 50, 50, 50, None, 50], [None, 0.9, 0.9, 0.9, 0.5, 0.9, None, 0.9])
    assert found.near_same_view(4).tolist() == [1, 2] and found.near_cut(0.68).tolist() == [3, 4]
    assert not len(found.near_same_view(0)) and not len(found.near_cut(0))
    part = found.part(2, 8)
    assert part.near_same_view(4).tolist() == [] and part.near_cut(0.68).tolist() == [1, 2]


def test_the_report_names_the_clips():
    found = index([None, 1, 1, 50, 50], [None, 0.9, 0.9, 0.3, 0.9])
    first, second = neighbour_lines(neighbour_counts(found, [("a", list(found.ids))]))
    assert "of 4 pairs of neighbours, 2 are nearly the same and 1 differ by a cut" in first
    assert "not learned from 3 frames (config.video.min_difference = 4, config.video.min_match = 0.68)" in first
    assert second.strip() == "a: 2 nearly the same, 1 cuts"


def save(tree, clip, images):
    for place, image in enumerate(images):
        path = tree.root / f"clips/{clip}/{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def test_a_parked_car_and_a_cut_in_a_prepared_folder(clips, folder, prepare):
    tree = folder(camera={"field_of_view": 90})
    save(tree, "parked", [*clips[0], clips[0][-1], clips[0][-1]])
    save(tree, "cut", [*clips[1], 255 - clips[5][0], 255 - clips[5][1]])
    builder = prepare(tree, (192, 96))
    dataset, config = FrameDataset(builder, "train"), default_config()
    kept = [dataset.index.ids[place] for place in depth_candidates(config, dataset)]
    assert kept == ["cut_1", "cut_2", "parked_1", "parked_2"]
    assert [len(found) for found in left_out_of_depth(config, dataset).values()] == [2, 2]
    text = report_text(builder.info.metadata["found"])
    assert "parked: 2 nearly the same, 0 cuts" in text and "cut: 0 nearly the same, 1 cuts" in text
    config.video.min_difference = config.video.min_match = 0.0
    assert len(depth_candidates(config, dataset)) == 8
    config.video.min_difference = 255.0
    with pytest.raises(ConfigError, match=r"config.video.min_difference: none of the 8 frames of folder/train is left"):
        depth_candidates(config, dataset)


def test_datasets_without_the_measure_keep_all_frames():
    found = FrameIndex.from_clips([("a", ["0", "1", "2"])])
    assert found.with_neighbours.tolist() == [1] and not len(found.near_same_view(255)) and not len(found.near_cut(1))
