"""Streets' source domain: another look and other cameras, and geometry as exact as the target's."""

import numpy as np
import pytest

from sdeseg_jax.adaptation import geometric_difference, log_disparity
from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.data.datasets import DatasetError, open_split
from sdeseg_jax.data.streets import SOURCE, TARGET, make_scene, render, render_clip

ROAD = CITYSCAPES.names.index("road")
SCENES = range(40)


def cameras(domain):
    """First and second camera pose in the world, and field of view, of some scenes."""
    scenes = [make_scene(domain, 0, "train", index, 2) for index in SCENES]
    return np.stack([scene.poses for scene in scenes]), np.array([scene.field_of_view for scene in scenes])


@pytest.fixture(scope="module")
def frames():
    """Domain name -> one small frame of every scene."""
    return {
        domain.name: [render(make_scene(domain, 0, "train", index, 1), 0, 24, 48) for index in SCENES]
        for domain in (TARGET, SOURCE)
    }


def test_target_domain_looks_as_it_did_before_there_was_a_source():
    """Prepared folders keep their version: their pixels must not change."""
    clip = render_clip("train", 2, frames=2, height=24, width=48)
    counts = [710, 250, 114, 0, 0, 81, 0, 2, 373, 67, 614, 64, 10, 12, 0, 0, 0, 4, 3]
    np.testing.assert_allclose(np.bincount(clip["label"].ravel(), minlength=19), counts, atol=1)
    np.testing.assert_allclose(clip["image"].mean((0, 1, 2)), [110.53, 111.46, 120.53], atol=0.05)
    np.testing.assert_allclose(clip["pose"][1, :3, 3], [0.17759, -1.48079, 1.06143], atol=1e-5)
    np.testing.assert_allclose(clip["pose"][1, 0, 2], -0.00108, atol=1e-5)


def test_cameras_of_the_source_are_carried_in_other_ways():
    (target, target_view), (source, source_view) = cameras(TARGET), cameras(SOURCE)
    assert np.ptp(target_view) == 0 and source_view.min() > target_view.max() + 0.1

    def turned(poses):
        """Angle in degrees between looking and moving, on the ground."""
        motion = poses[:, 1, :3, 3] - poses[:, 0, :3, 3]
        looking = poses[:, 0, :3, 2]
        return np.degrees(np.arctan2(looking[:, 0], looking[:, 2]) - np.arctan2(motion[:, 0], motion[:, 2]))

    assert np.abs(turned(target)).max() < 3
    side = np.abs(turned(source)) > 20
    assert 0.1 < side.mean() < 0.45 and (turned(source)[side] > 0).any() and (turned(source)[side] < 0).any()
    assert np.abs(target[:, 0, 0, 3]).max() <= 0.25
    kerb = np.abs(source[:, 0, 0, 3]) > 1.2
    assert 0.1 < kerb.mean() < 0.45 and (source[kerb, 0, 0, 3] < 0).any() and (source[kerb, 0, 0, 3] > 0).any()
    pace = np.linalg.norm(source[:, 1, :3, 3] - source[:, 0, :3, 3], axis=1)
    assert pace[kerb].max() < 0.5 < 0.7 < np.linalg.norm(target[:, 1, :3, 3] - target[:, 0, :3, 3], axis=1).min()
    height = -source[:, 0, 1, 3]
    assert (height > 2.2).any() and (height < 1.8).mean() > 0.7


def test_geometry_of_every_kind_of_camera_is_exact():
    """Every pixel's point, seen from the next frame, has the colour that it has in this one."""
    kinds = {}
    for index in SCENES:
        pose = make_scene(SOURCE, 0, "train", index, 1).poses[0]
        turn = abs(np.degrees(np.arctan2(pose[0, 2], pose[2, 2]))) > 20
        kinds.setdefault((turn, abs(pose[0, 3]) > 1.2, -pose[1, 3] > 2.2), index)
    assert len(kinds) == 4  # in the lane, at the kerb, looking aside, high up
    for index in kinds.values():
        clip = render_clip("train", index, frames=2, height=48, width=96, domain=SOURCE)
        ground = clip["label"][0] == ROAD
        v, u = np.mgrid[:48, :96].astype(float)
        rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(clip["intrinsics"][0].astype(float)).T
        points = (rays * clip["depth"][0][..., None])[ground] @ clip["pose"][0][:3, :3].T + clip["pose"][0][:3, 3]
        assert np.abs(points[:, 1]).max() < 1e-3  # the road lies at height zero
        local = (points - clip["pose"][1][:3, 3]) @ clip["pose"][1][:3, :3]
        pixels = local @ clip["intrinsics"][1].astype(float).T
        column, row = (np.rint(pixels[:, i] / local[:, 2]).astype(int) for i in range(2))
        inside = (local[:, 2] > 0) & (column >= 0) & (column < 96) & (row >= 0) & (row < 48)
        same = clip["label"][1][row[inside], column[inside]] == ROAD
        assert inside.mean() > 0.3 and same.mean() > 0.93


def test_look_and_class_frequencies_differ(frames):
    colors = {}
    for name, several in frames.items():
        pixels = np.concatenate([frame["image"][frame["label"] == ROAD] for frame in several]).astype(float)
        colors[name] = pixels.mean(0) / pixels.mean()
    assert colors["source"][0] - colors["source"][2] > colors["target"][0] - colors["target"][2] + 0.05  # warmer light
    share = {
        name: np.bincount(np.concatenate([frame["label"].ravel() for frame in several]), minlength=19)
        for name, several in frames.items()
    }
    assert (share["source"] > 0).sum() >= 18  # the long tail has all classes
    truck = CITYSCAPES.names.index("truck")
    assert share["source"][truck] > 1.3 * share["target"][truck]


def test_geometric_gap_leaves_room_for_matching(frames):
    """Source frames differ more from a target frame than target frames do; the nearest of five does less."""
    maps = {}
    for name, several in frames.items():
        inverse = np.stack([1 / np.maximum(frame["depth"], 2.0) for frame in several])
        low, high = inverse.min((1, 2), keepdims=True), inverse.max((1, 2), keepdims=True)
        maps[name] = log_disparity((inverse - low) / (high - low))
    within = geometric_difference(maps["target"][:20, None], maps["target"][None, 20:])
    across = geometric_difference(maps["target"][:20, None], maps["source"][None, :])
    assert across.mean() > 1.1 * within.mean()
    assert across.reshape(20, 8, 5).min(2).mean() < 0.8 * across.mean()


def test_domains_are_datasets_of_their_own(tmp_path):
    options = {"height": 32, "width": 64, "train_scenes": 2, "val_scenes": 1, "frames_per_clip": 2, "processes": 1}
    source = open_split("streets", "train", str(tmp_path), {**options, "domain": "source"})
    target = open_split("streets", "train", str(tmp_path), options)
    assert source.index.ids == target.index.ids and len(list((tmp_path / "streets").iterdir())) == 2
    images = [dataset.read(0, ("image",))["image"].numpy() for dataset in (source, target)]
    assert np.abs(images[0].astype(int) - images[1]).mean() > 10
    with pytest.raises(DatasetError, match="StreetsConfig.domain must be one of target, source, not 'sauce'"):
        open_split("streets", "train", str(tmp_path), {**options, "domain": "sauce"})
