"""Streets: the images, labels, depths and poses must agree exactly, because the geometry is tested against them."""

import concurrent.futures
import io
import os
import subprocess
import sys

import numpy as np
import pytest

from sdeseg_jax.data import datasets
from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.data.streets import TARGET, make_scene, render, render_clip
from sdeseg_jax.data.streets.builder import Streets
from sdeseg_jax.data.streets.png_encoder import encode_png

SKY, ROAD, SIDEWALK, TERRAIN = (CITYSCAPES.names.index(k) for k in ("sky", "road", "sidewalk", "terrain"))
MOVING_NAMES = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
MOVING = [CITYSCAPES.names.index(name) for name in MOVING_NAMES]
SIZE = dict(height=48, width=96)


@pytest.fixture(scope="module")
def clip():
    return render_clip("train", 3, frames=3, **SIZE)


def back_project(depth, intrinsics, pose):
    """World points [H, W, 3] of the pixels; depth [H, W]."""
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]].astype(float)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(intrinsics.astype(float)).T
    return (rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]


def sample(image, u, v):
    """Bilinear; image [H, W, C]."""
    u0, v0 = np.floor(u).astype(int), np.floor(v).astype(int)
    fu, fv = (u - u0)[:, None], (v - v0)[:, None]
    top = image[v0, u0] * (1 - fu) + image[v0, u0 + 1] * fu
    return top * (1 - fv) + (image[v0 + 1, u0] * (1 - fu) + image[v0 + 1, u0 + 1] * fu) * fv


def warp_errors(frames, target, source, scale=1.0):
    """Photometric error (grey levels) of static, visible pixels after warping `source` into `target`; also how many."""
    height, width = frames["label"].shape[1:]
    depth, label = frames["depth"][target], frames["label"][target]
    valid = np.isfinite(depth) & (depth < 60) & ~np.isin(label, MOVING)

    def project(depth):
        points = back_project(depth, frames["intrinsics"][target], frames["pose"][target])[valid]
        local = (points - frames["pose"][source][:3, 3]) @ frames["pose"][source][:3, :3]
        pixels = local @ frames["intrinsics"][source].astype(float).T
        return pixels[:, 0] / local[:, 2], pixels[:, 1] / local[:, 2], local[:, 2]

    u, v, z = project(np.where(valid, depth, 1))
    inside = (u > 0) & (u < width - 1.01) & (v > 0) & (v < height - 1.01)
    # Also visible in the source: its own depth agrees there.
    seen = frames["depth"][source][np.rint(v[inside]).astype(int), np.rint(u[inside]).astype(int)]
    keep = np.flatnonzero(inside)[np.abs(seen - z[inside]) < 0.05 * z[inside] + 0.1]
    if scale != 1:
        u, v, _ = project(np.where(valid, depth * scale, 1))
        keep = keep[(u[keep] > 0) & (u[keep] < width - 1.01) & (v[keep] > 0) & (v[keep] < height - 1.01)]
    warped = sample(frames["image"][source].astype(float), u[keep], v[keep])
    return np.abs(warped - frames["image"][target].astype(float)[valid][keep]).mean(-1)


def test_shapes_and_types(clip):
    assert clip["image"].shape == (3, 48, 96, 3) and clip["image"].dtype == np.uint8
    assert clip["label"].shape == (3, 48, 96) and clip["label"].dtype == np.uint8
    assert clip["depth"].shape == (3, 48, 96) and clip["depth"].dtype == np.float32
    assert clip["intrinsics"].shape == (3, 3, 3) and clip["intrinsics"].dtype == np.float32
    assert clip["pose"].shape == (3, 4, 4) and clip["pose"].dtype == np.float64
    assert clip["label"].max() < len(CITYSCAPES)
    np.testing.assert_allclose(clip["intrinsics"][0][:2, 2], [47.5, 23.5])
    field_of_view = np.degrees(2 * np.arctan(48 / clip["intrinsics"][0, 0, 0]))
    assert 60 < field_of_view < 75


def test_deterministic(clip):
    again = render_clip("train", 3, frames=3, **SIZE)
    for key, value in clip.items():
        np.testing.assert_array_equal(value, again[key], err_msg=key)


def test_longer_clip_continues_shorter(clip):
    longer = render_clip("train", 3, frames=5, **SIZE)
    for key, value in clip.items():
        np.testing.assert_array_equal(value, longer[key][:3], err_msg=key)


def test_scenes_differ():
    scenes = [("train", 0, 0), ("train", 1, 0), ("validation", 0, 0), ("train", 0, 1)]
    seen = [render_clip(split, index, frames=1, seed=seed, **SIZE) for split, index, seed in scenes]
    for i, first in enumerate(seen):
        for second in seen[:i]:
            assert (first["label"] != second["label"]).mean() > 0.05


def test_pose_drives_forward(clip):
    for pose in clip["pose"]:
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        assert 1.1 < -pose[1, 3] < 1.8
    relative = np.linalg.inv(clip["pose"][0]) @ clip["pose"][1]
    assert 0.45 < relative[2, 3] < 1.1 and abs(relative[0, 3]) < 0.1
    assert np.abs(relative[:3, :3] - np.eye(3)).max() < 0.02


def test_sky_is_where_depth_is_infinite(clip):
    np.testing.assert_array_equal(clip["label"] == SKY, np.isinf(clip["depth"]))
    assert (clip["depth"] > 0).all()


def test_ground_lies_at_height_zero(clip):
    for t in range(3):
        depth = np.where(np.isinf(clip["depth"][t]), 1, clip["depth"][t])
        points = back_project(depth, clip["intrinsics"][t], clip["pose"][t])
        flat = np.isin(clip["label"][t], [ROAD, SIDEWALK, TERRAIN])
        assert flat.mean() > 0.2
        assert np.abs(points[flat][:, 1]).max() < 1e-3
        assert points[np.isfinite(clip["depth"][t])][:, 1].max() < 1e-3  # nothing is under the ground


def test_same_world_at_any_resolution():
    """At three times the resolution, every third pixel has the same ray: same label, same depth."""
    scene = make_scene(TARGET, 0, "train", 5, 2)
    small, large = render(scene, 1, 32, 64), render(scene, 1, 96, 192)
    np.testing.assert_array_equal(small["label"], large["label"][1::3, 1::3])
    finite = np.isfinite(small["depth"])
    np.testing.assert_allclose(small["depth"][finite], large["depth"][1::3, 1::3][finite], rtol=1e-4)
    shrunk = large["image"].reshape(32, 3, 64, 3, 3).mean((1, 3))
    assert np.abs(shrunk - small["image"]).mean() < 6


def test_warping_with_true_geometry_reproduces_the_target():
    true, near, far = [], [], []
    for index in range(4):
        frames = render_clip("train", index, frames=2, height=96, width=192)
        for collected, scale in ((true, 1.0), (near, 0.8), (far, 1.2)):
            collected.append(warp_errors(frames, 0, 1, scale))
    true, near, far = (np.concatenate(x) for x in (true, near, far))
    assert len(true) > 4 * 96 * 192 * 0.3
    assert np.median(true) < 2.0
    assert true.mean() < 0.75 * min(near.mean(), far.mean())


def test_all_classes_occur_with_a_long_tail():
    scenes = [render(make_scene(TARGET, 0, "validation", k, 1), 0, 48, 96)["label"] for k in range(50)]
    share = np.stack([np.bincount(label.ravel(), minlength=19) >= 4 for label in scenes]).mean(0)
    share = dict(zip(CITYSCAPES.names, share, strict=True))
    assert min(share.values()) >= 0.06, share
    for name in ("road", "sidewalk", "building", "vegetation", "sky", "car", "pole"):
        assert share[name] > 0.8, share
    for name in ("wall", "train", "bus", "truck", "motorcycle", "rider"):
        assert share[name] < 0.5, share


def test_objects_hide_what_is_behind_them(clip):
    """Above the horizon there is no ground, and the bottom row sees mostly the road right in front of the camera."""
    assert not np.isin(clip["label"][:, :16], [ROAD, SIDEWALK]).any()
    assert (clip["label"][:, -1] == ROAD).mean() > 0.3
    assert clip["depth"][:, -1].max() < 10


def test_renderer_does_not_import_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['jax'] = None\n"
        "import sdeseg_jax.data.streets.clip_encoding, sdeseg_jax.data.worker_processes\n"
        "from sdeseg_jax.data.streets import render_clip\n"
        "render_clip('train', 0, frames=1, height=8, width=16)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_png_round_trip():
    from PIL import Image

    rng = np.random.default_rng(0)
    for channels in (1, 3):
        image = rng.integers(0, 256, (5, 7, channels), np.uint8)
        decoded = np.asarray(Image.open(io.BytesIO(encode_png(image)))).reshape(image.shape)
        np.testing.assert_array_equal(decoded, image)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    builder_module = pytest.importorskip("sdeseg_jax.data.streets.builder")
    config = builder_module.StreetsConfig(height=32, width=64, train_scenes=3, val_scenes=1, frames_per_clip=3, seed=7)
    data_dir = tmp_path_factory.mktemp("data")
    builder = builder_module.Streets(config=config, data_dir=str(data_dir), file_format="array_record")
    builder.download_and_prepare()
    return builder


def test_builder_round_trip(prepared):
    assert prepared.builder_config.name == "64x32_s3_v1_f3_seed7"
    source = prepared.as_data_source("train")
    assert len(source) == 9 and len(prepared.as_data_source("validation")) == 3
    for index in range(3):
        expected = render_clip("train", index, frames=3, height=32, width=64, seed=7)
        for t in range(3):
            record = source[3 * index + t]
            assert record["id"].decode() == f"train_{index:04d}_{t:02d}"
            assert record["clip"].decode() == f"train_{index:04d}" and record["frame"] == t
            np.testing.assert_array_equal(record["image"], expected["image"][t])
            np.testing.assert_array_equal(record["label"][..., 0], expected["label"][t])
            np.testing.assert_array_equal(record["depth"][..., 0], expected["depth"][t])
            np.testing.assert_array_equal(record["intrinsics"], expected["intrinsics"][t])
            np.testing.assert_array_equal(record["pose"], expected["pose"][t])


def test_builder_metadata(prepared):
    metadata = prepared.info.metadata

    def clip(name):
        return [name, [f"{name}_{t:02d}" for t in range(3)]]

    assert metadata["clips"] == {
        "train": [clip("train_0000"), clip("train_0001"), clip("train_0002")],
        "validation": [clip("validation_0000")],
    }
    assert metadata["classes"]["protocol"] == "cityscapes-19"


def test_interrupted_generation_is_not_taken_for_whole(tmp_path, monkeypatch):
    module = pytest.importorskip("sdeseg_jax.data.streets.builder")
    config = module.StreetsConfig(height=8, width=16, train_scenes=2, val_scenes=1, frames_per_clip=2)

    def build():
        return module.Streets(config=config, data_dir=str(tmp_path), file_format="array_record")

    def interrupted(name, tasks, processes):
        image, label = (encode_png(np.zeros((8, 16, channels), np.uint8)) for channels in (3, 1))
        camera = {"intrinsics": np.eye(3, dtype=np.float32), "pose": np.eye(4)}
        yield [{"image": image, "label": label, "depth": np.ones((8, 16, 1), np.float32), **camera}] * 2
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_parallel", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build().download_and_prepare()
    assert not build().is_prepared()
    builder = build()
    builder.download_and_prepare()
    assert builder.is_prepared() and len(builder.as_data_source("train")) == 4


def test_builder_refuses_bad_sizes():
    module = pytest.importorskip("sdeseg_jax.data.streets.builder")
    with pytest.raises(ValueError, match="frames_per_clip"):
        module.StreetsConfig(frames_per_clip=0)


def test_worker_errors_reach_the_caller():
    from sdeseg_jax.data.worker_processes import run_parallel

    task = dict(split="nowhere", index=0, frames=1, height=8, width=16)
    with pytest.raises(RuntimeError, match="ValueError"):
        list(run_parallel("sdeseg_jax.data.streets.clip_encoding:encode_clip", [task], processes=1))


def test_two_runs_that_want_the_same_data_render_it_once(tmp_path, monkeypatch):
    """One used to fail when it renamed its folder to the other's name."""
    rendered, render = [], Streets.download_and_prepare

    def counted(builder, **settings):
        rendered.append(builder)
        return render(builder, **settings)

    monkeypatch.setattr(Streets, "download_and_prepare", counted)
    options = {"height": 32, "width": 64, "train_scenes": 2, "val_scenes": 1, "frames_per_clip": 3}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: datasets.prepare("streets", str(tmp_path), options), range(2)))
    assert len(rendered) == 1 and all(builder.info.splits["train"].num_examples == 6 for builder in both)
