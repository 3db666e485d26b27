"""The input pipeline: order and randomness as functions of (seed, step), joint crops and flips, whole evaluation."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from sdeseg_jax.data.disparity_maps import LEVELS, DisparityFolder
from sdeseg_jax.data.frame_dataset import FrameDataset, FrameIndex
from sdeseg_jax.data.input_pipeline import evaluation_batches, training_batches
from sdeseg_jax.data.intrinsics_ops import crop_intrinsics, flip_intrinsics
from sdeseg_jax.data.sample_order_and_crops import Stream
from sdeseg_jax.data.streets import render_clip

VIDEO = ("image", "prev_image", "next_image", "intrinsics", "label", "is_labeled", "id")


def take(dataset, steps, first=0, crop=(32, 64), flip=False, seed=0, threads=2, host=0, hosts=1, **stream):
    arguments = {"indices": dataset.index.with_neighbours, "batch_size": 3, "fields": VIDEO} | stream
    batches = training_batches({"s": Stream(dataset, **arguments)}, crop, flip, seed, first, threads, host, hosts)
    return [batch["s"] for batch in itertools.islice(batches, steps)]


def equal(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_batches_have_the_documented_form(train_split):
    batch = take(train_split, 1)[0]
    assert batch["image"].shape == (3, 32, 64, 3) and batch["image"].dtype == np.uint8
    assert batch["label"].shape == (3, 32, 64) and batch["label"].dtype == np.uint8
    assert batch["intrinsics"].shape == (3, 3, 3) and batch["is_labeled"].dtype == bool


def test_resuming_gives_the_batches_of_an_uninterrupted_run_with_any_number_of_threads(train_split):
    whole = take(train_split, 9, crop=(16, 32), flip=True)
    resumed = take(train_split, 5, first=4, crop=(16, 32), flip=True, threads=1)
    assert all(equal(a, b) for a, b in zip(whole[4:], resumed, strict=True))
    other_seed = take(train_split, 9, crop=(16, 32), flip=True, seed=1)
    assert not any(equal(a, b) for a, b in zip(whole, other_seed, strict=True))


def test_batches_of_all_hosts_are_the_batch_of_one(train_split):
    """The same samples in the same order, crops and flips included; together all frames of an epoch, none twice."""
    alone = take(train_split, 6, crop=(16, 32), flip=True, batch_size=6)
    hosts = [take(train_split, 6, crop=(16, 32), flip=True, host=h, hosts=2) for h in range(2)]
    for whole, *shares in zip(alone, *hosts, strict=True):
        assert equal(whole, {name: np.concatenate([share[name] for share in shares]) for name in whole})
    seen = [{name for batch in batches[:2] for name in batch["id"]} for batches in hosts]
    assert len(seen[0]) == len(seen[1]) == 6 and not seen[0] & seen[1]


def test_a_host_reads_its_own_share_only(train_split, monkeypatch):
    read = []
    records = FrameDataset.records
    monkeypatch.setattr(FrameDataset, "records", lambda self, i: (read.extend(np.ravel(i)), records(self, i))[1])
    batches = take(train_split, 2, host=1, hosts=2, fields=("image", "id"))
    own = [train_split.index.position[name.decode()] for batch in batches for name in batch["id"]]
    assert read[: len(own)] == own  # what follows was read ahead


def test_a_late_start_reads_nothing_of_what_lies_before(train_split, monkeypatch):
    read = []
    records = FrameDataset.records
    monkeypatch.setattr(FrameDataset, "records", lambda self, i: (read.extend(np.ravel(i)), records(self, i))[1])
    far = 2**33 + 5
    batch = take(train_split, 1, first=far, fields=("image", "id"))[0]
    assert equal(batch, take(train_split, 1, first=far, fields=("image", "id"))[0])
    assert len(read) < 3 * 40


def test_one_labelled_frame_is_enough_for_batches_of_one(train_split):
    batches = take(train_split, 3, indices=train_split.index.labeled[:1], batch_size=1, fields=("image", "id"))
    assert {batch["id"][0] for batch in batches} == {train_split.index.ids[0].encode()}


def test_every_frame_once_per_epoch_in_a_new_order(train_split):
    frames = train_split.index.with_neighbours  # 12 of 20
    ids = [name for batch in take(train_split, 8) for name in batch["id"]]
    first, second = ids[:12], ids[12:]
    assert sorted(first) == sorted(second) == sorted(train_split.index.ids[i].encode() for i in frames)
    assert first != second


def test_neighbours_are_the_frames_before_and_after(train_split):
    for batch in take(train_split, 3):
        for i, name in enumerate(batch["id"]):
            _, scene, frame = name.decode().split("_")
            clip = render_clip("train", int(scene), frames=5, height=32, width=64)["image"]
            for field, offset in (("prev_image", -1), ("image", 0), ("next_image", 1)):
                np.testing.assert_array_equal(batch[field][i], clip[int(frame) + offset])


def test_crops_and_flips_are_joint_and_follow_the_intrinsics(train_split):
    whole = {b["id"][i]: {k: v[i] for k, v in b.items()} for b in take(train_split, 4) for i in range(3)}
    seen = set()
    for batch in take(train_split, 12, crop=(16, 24), flip=True):
        for i, name in enumerate(batch["id"]):
            original = whole[name]
            found = []
            for flipped, top, left in itertools.product((False, True), range(17), range(41)):
                cut = {
                    field: original[field][top : top + 16, left : left + 24][:, :: -1 if flipped else 1]
                    for field in ("image", "prev_image", "next_image", "label")
                }
                if all(np.array_equal(cut[field], batch[field][i]) for field in cut):
                    found.append((flipped, top, left))
            assert len(found) == 1, name
            flipped, top, left = found[0]
            seen.add(flipped)
            k, expected = batch["intrinsics"][i], original["intrinsics"].copy()
            expected[0, 2] -= left
            expected[1, 2] -= top
            if flipped:
                expected[0, 2] = 23 - expected[0, 2]
            np.testing.assert_allclose(k, expected, atol=1e-4)
    assert seen == {False, True}


def test_intrinsics_project_to_the_transformed_pixel():
    k = tf.constant([[50.0, 0.3, 31], [0, 48, 15], [0, 0, 1]])
    point = np.array([0.7, -0.4, 3.0])

    def pixel(intrinsics, p=point):
        u, v, w = np.asarray(intrinsics) @ p
        return np.array([u / w, v / w])

    u, v = pixel(k)
    np.testing.assert_allclose(pixel(crop_intrinsics(k, 4, 7)), [u - 7, v - 4], atol=1e-4)
    mirrored = point * [-1, 1, 1]
    np.testing.assert_allclose(pixel(flip_intrinsics(k, 64), mirrored), [63 - u, v], atol=1e-4)
    assert flip_intrinsics(k, 64)[0, 0] == 50


def test_only_the_labelled_subset_has_labels(train_split):
    labeled = train_split.index.with_neighbours[:4]
    names = {train_split.index.ids[i].encode() for i in labeled}
    for batch in take(train_split, 4, labeled=labeled):
        for i, name in enumerate(batch["id"]):
            assert batch["is_labeled"][i] == (name in names)
            assert np.all(batch["label"][i] == 255) == (name not in names)


def test_disparity_is_read_by_id_and_normalised_per_image(train_split, tmp_path):
    folder = DisparityFolder(tmp_path, "train")
    assert folder.missing(train_split.index.ids) == list(train_split.index.ids)
    rng = np.random.default_rng(0)
    maps = {name: rng.uniform(0.1, 0.4, (32, 64, 1)).astype(np.float32) for name in train_split.index.ids}
    for name, disparity in maps.items():
        folder.write(name, disparity)
    assert folder.missing(train_split.index.ids) == []
    name = train_split.index.ids[0]
    np.testing.assert_allclose(folder.read(tf.constant(name)), maps[name], atol=0.51 / LEVELS)
    for batch in take(train_split, 2, fields=("disparity", "id"), disparities=folder):
        for disparity, name in zip(batch["disparity"], batch["id"], strict=True):
            expected = maps[name.decode()]
            expected = (expected - expected.min()) / (expected.max() - expected.min())
            np.testing.assert_allclose(disparity, expected, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 16])
def test_evaluation_sees_every_frame_once_in_order(validation_split, batch_size):
    ids = []
    batches = evaluation_batches(validation_split, range(10), batch_size, ("image", "depth", "id"))
    for batch, count in batches:
        assert batch["image"].shape == (batch_size, 32, 64, 3) and batch["depth"].shape == (batch_size, 32, 64, 1)
        ids += [name.decode() for name in batch["id"][:count]]
    assert ids == list(validation_split.index.ids)


@pytest.mark.parametrize("hosts, batch_size", [(2, 3), (3, 2), (4, 4)])
def test_hosts_evaluate_every_frame_once_in_as_many_batches(validation_split, hosts, batch_size):
    ids, numbers = [], set()
    for host in range(hosts):
        batches = list(
            evaluation_batches(validation_split, range(10), batch_size, ("image", "id"), host=host, hosts=hosts)
        )
        numbers.add(len(batches))
        assert all(batch["image"].shape[0] == batch_size for batch, _ in batches)
        ids += [name.decode() for batch, count in batches for name in batch["id"][:count]]
    assert len(numbers) == 1 and sorted(ids) == sorted(validation_split.index.ids) and len(ids) == 10


@pytest.mark.parametrize(
    "stream, message",
    [
        ({"fields": ("image", "pose_of_moon")}, "asks for 'pose_of_moon', but streets/train has only image"),
        ({"fields": ("image", "disparity")}, "asks for 'disparity', but has no folder"),
        ({"indices": np.array([0, 1, 2])}, "asks for 'prev_image' of 1 frames .* e.g. 'train_0000_00'"),
        ({"indices": np.array([1, 2, 4])}, "asks for 'next_image' of 1 frames .* e.g. 'train_0000_04'"),
        ({"indices": np.array([1, 2, 99]), "fields": ("image",)}, "asks for frame 99, but streets/train has 20"),
    ],
)
def test_streams_that_ask_for_what_is_not_there(train_split, stream, message):
    with pytest.raises(ValueError, match=message):
        take(train_split, 1, **stream)


def test_hosts_that_are_not_there(train_split):
    with pytest.raises(ValueError, match="host 2 does not exist: 2 hosts"):
        take(train_split, 1, host=2, hosts=2)
    with pytest.raises(ValueError, match="12 frames, fewer than its batch of 18"):
        take(train_split, 1, hosts=6)


def test_frame_index_knows_clip_borders():
    index = FrameIndex.from_clips([("a", ["a0", "a1", "a2"]), ("b", ["b0"]), ("c", ["c0", "c1", "c2", "c3"])])
    assert index.ids == ("a0", "a1", "a2", "b0", "c0", "c1", "c2", "c3")
    assert index.with_neighbours.tolist() == [1, 5, 6]
    assert index.position["b0"] == 3


def test_stream_with_fewer_frames_than_a_batch(train_split):
    with pytest.raises(ValueError, match="2 frames, fewer than its batch of 3"):
        take(train_split, 1, indices=np.array([1, 2]))


def test_crop_larger_than_the_images(train_split):
    with pytest.raises(ValueError, match=r"config.data.crop: \(64, 64\) is larger"):
        take(train_split, 1, crop=(64, 64))


def test_ids_that_are_not_in_the_dataset(train_split):
    with pytest.raises(ValueError, match="1 ids are not in streets/train, e.g. .'nowhere'"):
        train_split.positions(["train_0000_01", "nowhere"])
    with pytest.raises(ValueError, match="listed twice"):
        train_split.positions(["train_0000_01", "train_0000_01"])
