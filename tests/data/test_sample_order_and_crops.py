"""Matching Geometry Sampling in the pipeline: candidates, choice, determinism."""

import itertools
import os
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.data.input_pipeline import training_batches
from sdeseg_jax.data.sample_order_and_crops import (
    Matching,
    Stream,
    candidate_choice,
    differences,
    mean_differences,
    training_choice,
)
from sdeseg_jax.data.stored_geometry import geometry_stride, open_geometry

CROP = (32, 48)
SEED = 7
CANDIDATES = 5
POOL_FIELDS, SOURCE_FIELDS = ("id", "disparity"), ("id", "image", "label", "disparity")


@pytest.fixture(scope="module")
def disparities(train_split, tmp_path_factory):
    """A random map of every frame of `train_split`, smooth as real ones are."""
    folder = DisparityFolder(tmp_path_factory.mktemp("disparity"), train_split.split)
    for i, name in enumerate(train_split.index.ids):
        rng = np.random.default_rng(i)
        folder.write(name, np.kron(rng.random((8, 16)), np.ones((4, 4))) * rng.uniform(0.2, 0.9) + 0.05)
    return folder


@pytest.fixture(scope="module")
def make_streams(train_split, disparities, tmp_path_factory):
    """make_streams(candidates, batch size) -> {"pool", "source"}: the source's frames are matched to the pool's."""
    labeled = train_split.index.labeled
    path = tmp_path_factory.mktemp("geometry") / "all"
    geometry = open_geometry(path, disparities, train_split, np.arange(len(train_split.index)), geometry_stride(CROP))

    def make(candidates=CANDIDATES, batch_size=2, fields=SOURCE_FIELDS):
        pool = Stream(train_split, labeled, batch_size, POOL_FIELDS, labeled, disparities, salt=2)
        matching = Matching("pool", geometry, geometry, candidates)
        return {
            "pool": pool,
            "source": Stream(train_split, labeled, batch_size, fields, labeled, disparities, 3, matching),
        }

    return make


def take(streams, steps, first=0, host=0, hosts=1, threads=2):
    batches = training_batches(streams, CROP, True, SEED, first, threads, host, hosts)
    return list(itertools.islice(batches, steps))


def plain_crops(dataset, disparities, choice):
    """log(1 + normalised disparity) of crops, from the PNG files alone."""
    out = []
    for index, (top, left), flipped in zip(choice.indices, choice.corner, choice.flipped, strict=True):
        disparity = np.asarray(Image.open(disparities.path(dataset.index.ids[index])), np.float64)
        disparity = (disparity - disparity.min()) / (disparity.max() - disparity.min())
        crop = np.log(1 + disparity)[top : top + CROP[0], left : left + CROP[1]]
        out.append(crop[:, ::-1] if flipped else crop)
    return np.stack(out)


def test_the_nearest_candidate_is_taken_as_plain_numpy_finds_it(train_split, disparities, make_streams):
    streams = make_streams()
    choose_target = training_choice(streams["pool"], CROP, True, SEED)
    choose_candidates = candidate_choice(streams["source"], CROP, True, SEED)
    not_first = 0
    for step, batch in enumerate(take(streams, 12)):
        candidates = choose_candidates(step)
        wanted = plain_crops(train_split, disparities, choose_target(step))
        found = plain_crops(train_split, disparities, candidates).reshape(2, CANDIDATES, *CROP)
        rows = slice(round(80 * 32 / 512), 32 - round(100 * 32 / 512))
        plain = np.abs(wanted[:, None, rows] - found[:, :, rows]).mean((2, 3))
        ours = differences(streams["source"].matching, choose_target(step), candidates, CROP)
        np.testing.assert_allclose(ours, plain, atol=2e-5)
        nearest = np.argmin(plain, axis=1)
        not_first += np.sum(nearest > 0)
        places = np.arange(2) * CANDIDATES + nearest
        assert [name.decode() for name in batch["source"]["id"]] == [
            train_split.index.ids[i] for i in candidates.indices[places]
        ]
        # The very crop that was compared is the one that is read, image, label and disparity alike.
        np.testing.assert_allclose(np.log1p(batch["source"]["disparity"][..., 0]), found[range(2), nearest], atol=2e-5)
    assert not_first > 10  # of 24


def test_one_candidate_is_plain_random_sampling(make_streams):
    matched, plain = make_streams(1), make_streams(1)
    source = plain["source"]
    plain["source"] = Stream(source.dataset, source.indices, 2, source.fields, source.labeled, source.disparities, 3)
    for one, other in zip(take(matched, 5), take(plain, 5), strict=True):
        assert all(np.array_equal(one["source"][name], other["source"][name]) for name in one["source"])


def test_every_source_frame_is_a_candidate_equally_often(make_streams):
    stream = make_streams()["source"]
    choose, count = candidate_choice(stream, CROP, True, SEED), len(stream.indices)
    drawn = np.concatenate([choose(step).indices for step in range(2 * count)])
    assert len(drawn) == 2 * count * 2 * CANDIDATES
    assert (np.bincount(np.searchsorted(stream.indices, drawn)) == 4 * CANDIDATES).all()
    five = drawn.reshape(-1, CANDIDATES)
    assert len({tuple(sorted(one)) for one in five}) > 0.9 * len(five)  # other sets of five every time


def test_mean_difference_of_matched_and_of_random_pairs(make_streams):
    streams = make_streams()
    found = mean_differences(streams, "source", CROP, True, SEED, 10)
    target, candidates = (
        training_choice(streams["pool"], CROP, True, SEED),
        candidate_choice(streams["source"], CROP, True, SEED),
    )
    every = [differences(streams["source"].matching, target(k), candidates(k), CROP) for k in range(10)]
    assert found["random"] == pytest.approx(np.mean(every)) and found["matched"] < found["random"]
    assert found["matched"] == pytest.approx(np.mean([one.min(1) for one in every]))


def test_resumed_and_uninterrupted_runs_match_the_same_frames(make_streams):
    whole, resumed = take(make_streams(), 6), take(make_streams(), 3, first=3, threads=1)
    for one, other in zip(whole[3:], resumed, strict=True):
        for name in one:
            assert all(np.array_equal(one[name][field], other[name][field]) for field in one[name])


def test_batches_of_all_hosts_are_the_batch_of_one(make_streams):
    alone = take(make_streams(batch_size=4), 4)
    hosts = [take(make_streams(), 4, host=h, hosts=2) for h in range(2)]
    for whole, *shares in zip(alone, *hosts, strict=True):
        for name in whole:
            for field in whole[name]:
                np.testing.assert_array_equal(
                    whole[name][field], np.concatenate([share[name][field] for share in shares])
                )


def test_only_the_winners_are_read_and_decoded(make_streams, monkeypatch):
    from sdeseg_jax.data.frame_dataset import FrameDataset

    read, records = [], FrameDataset.records
    monkeypatch.setattr(FrameDataset, "records", lambda self, i: (read.append(np.size(i)), records(self, i))[1])
    take(make_streams(), 1, threads=1)
    assert set(read) == {2}  # records per batch and stream, though ten candidates were compared


def test_large_crops_are_compared_at_128_rows_or_a_few_more():
    sizes = {(512, 512): 4, (1024, 1024): 8, (96, 192): 1, (320, 320): 2, (224, 640): 1, (512, 96): 4, (256, 33): 1}
    assert {size: geometry_stride(size) for size in sizes} == sizes


def write_maps(folder, names, size, seed=0):
    maps = np.random.default_rng(seed).random((len(names), *size))
    for name, one in zip(names, maps, strict=True):
        folder.write(name, one)
    return maps


def test_geometry_is_made_once_and_averages_large_maps(tmp_path, train_split, monkeypatch):
    folder, names = DisparityFolder(tmp_path / "disparity", "train"), train_split.index.ids[:3]
    maps = write_maps(folder, names, (512, 256))
    monkeypatch.setattr(train_split, "image_size", (512, 256))
    path = tmp_path / "geometry" / "source"
    geometry = open_geometry(path, folder, train_split, np.arange(3), 4)
    found = geometry.crops(np.array([2, 0]), np.array([[0, 13], [128, 0]]), np.array([False, True]), (256, 128))
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    means = np.log1p((maps - low) / (high - low)).reshape(3, 128, 4, 64, 4).mean((2, 4))
    np.testing.assert_allclose(found[0], means[2, 0:64, 3:35], atol=3e-5)
    np.testing.assert_allclose(found[1], means[0, 32:96, 0:32][:, ::-1], atol=3e-5)
    (file,) = path.parent.iterdir()
    assert file.name.startswith("source_") and file.suffix == ".npy"
    for name in names:
        folder.path(name).unlink()
    open_geometry(path, folder, train_split, np.arange(3), 4)  # the files are not looked at again
    assert list(path.parent.iterdir()) == [file]


def test_geometry_follows_disparity_that_was_made_anew(tmp_path, train_split):
    folder, names = DisparityFolder(tmp_path / "disparity", "train"), train_split.index.ids[:2]
    path, whole = tmp_path / "geometry", (np.array([0]), np.zeros((1, 2), int), np.array([False]), (32, 64))
    write_maps(folder, names, (32, 64))
    before = open_geometry(path, folder, train_split, np.arange(2), 1).crops(*whole)
    write_maps(folder, names, (32, 64), seed=1)
    np.testing.assert_array_equal(open_geometry(path, folder, train_split, np.arange(2), 1).crops(*whole), before)
    record = tmp_path / "disparity" / "stage.json"
    record.write_text("{}")
    os.utime(record, (time.time() + 60,) * 2)
    assert np.abs(open_geometry(path, folder, train_split, np.arange(2), 1).crops(*whole) - before).mean() > 0.05


def test_interrupted_writing_leaves_nothing(tmp_path, train_split):
    folder, names = DisparityFolder(tmp_path / "disparity", "train"), train_split.index.ids[:2]
    write_maps(folder, names[:1], (32, 64))
    with pytest.raises(tf.errors.NotFoundError):
        open_geometry(tmp_path / "geometry" / "source", folder, train_split, np.arange(2), 1)
    assert not list((tmp_path / "geometry").iterdir())
