"""KITTI odometry: calibration, poses of the camera that is stored, whole download and single sequence."""

import shutil

import numpy as np
import pytest

from sdeseg_jax.data.builders.source_errors import SourceError

SIZE = (124, 37)
LEFT = "72 0 61 0 0 72 18 0 0 0 1 0"
RIGHT = "72 0 61 -38 0 72 18 0 0 0 1 0"
COLOR = "70 0 60 4.48 0 70 19 -0.171 0 0 1 0.003"
CALIBRATION = f"P0: {LEFT}\nP1: {RIGHT}\nP2: {COLOR}\nP3: {RIGHT}\nTr: 4e-4 -1 -2e-3 0 1e-3 2e-3 -1 0 1 4e-4 1e-3 0\n"


def pose(n):
    """Camera to world of frame n: some turn, some way."""
    a = 0.1 * n
    return np.array([[np.cos(a), 0, np.sin(a), 0.2 * n], [0, 1, 0, -0.01 * n], [-np.sin(a), 0, np.cos(a), 1.1 * n]])


def pose_lines(numbers):
    return "".join(" ".join(f"{value:.9e}" for value in pose(n).ravel()) + "\n" for n in numbers)


def write_sequence(tree, folder, kind, numbers, calibration=CALIBRATION):
    for n in numbers:
        tree.image(f"{folder}/{kind}/{n:06d}.png", 40 * n, SIZE, "L" if kind != "image_2" else "RGB")
    tree.text(f"{folder}/calib.txt", calibration)
    tree.text(f"{folder}/times.txt", "0.000000e+00\n")


@pytest.fixture(scope="module")
def builder(new_tree, build):
    tree = new_tree()
    write_sequence(tree, "sequences/00", "image_2", range(4))
    write_sequence(tree, "sequences/00", "image_0", range(4))
    write_sequence(tree, "sequences/01", "image_0", (0, 1, 3))
    write_sequence(tree, "sequences/09", "image_0", range(2))
    write_sequence(tree, "sequences/11", "image_0", range(2))
    write_sequence(tree, "sequences/12", "image_2", ())
    for name, count in (("00", 4), ("01", 6), ("09", 2)):
        tree.text(f"poses/{name}.txt", pose_lines(range(count)))
    tree.clutter("", "sequences", "sequences/00", "sequences/00/image_2")
    return build("kitti_odometry", tree.root, width=62, height=20)


def test_sequences_are_splits_and_clips(builder, read):
    assert builder.info.metadata["clips"]["train"] == [
        ["00_000000", [f"00_{n:06d}" for n in range(4)]],
        ["01_000000", ["01_000000", "01_000001"]],
        ["01_000003", ["01_000003"]],
        ["11_000000", ["11_000000", "11_000001"]],
    ]
    assert list(read(builder, "validation")) == ["09_000000", "09_000001"]
    for name, record in read(builder, "train").items():
        assert record["image"].shape == (20, 62, 3)
        np.testing.assert_allclose(record["image"], 40 * int(name[-6:]), atol=2)
    notes = builder.info.metadata["found"]["notes"]
    assert len(notes) == 2
    assert notes[0].endswith("11.txt is missing: sequence 11 has no poses")
    assert notes[1] == "sequence 12 has no images; it is left out"


def test_intrinsics_are_those_of_the_stored_camera(builder, read, resized):
    records = read(builder, "train")
    for name, fx, cx, cy in (("00_000000", 70, 60, 19), ("01_000000", 72, 61, 18)):
        expected = [[fx / 2, 0, resized(cx, 124, 62)], [0, fx * 20 / 37, resized(cy, 37, 20)], [0, 0, 1]]
        np.testing.assert_allclose(records[name]["intrinsics"], expected, rtol=1e-6)


def test_poses_are_of_the_stored_camera(builder, read):
    records = read(builder, "train")
    for n in (0, 1, 3):  # there is no image 2: line n is of frame n
        np.testing.assert_allclose(records[f"01_{n:06d}"]["pose"], [*pose(n), [0, 0, 0, 1]], atol=1e-8)
        assert records[f"01_{n:06d}"]["pose"].dtype == np.float64
    assert np.isnan(records["11_000000"]["pose"]).all()
    # A point projects to the same pixel through the pose and intrinsics of camera 2 as through P2.
    k, p2 = np.array([[70, 0, 60], [0, 70, 19], [0, 0, 1]]), np.array(COLOR.split(), float).reshape(3, 4)
    point = np.array([1.5, -0.7, 12, 1])
    for n in range(4):
        grey = np.linalg.inv([*pose(n), [0, 0, 0, 1]]) @ point
        color = np.linalg.inv(records[f"00_{n:06d}"]["pose"]) @ point
        np.testing.assert_allclose(k @ color[:3], p2 @ grey, atol=1e-6)


def test_a_single_sequence_with_a_calibration_without_names(new_tree, build, read):
    tree = new_tree()
    write_sequence(tree, "clip", "image_l", range(3), f"{LEFT}\n{RIGHT}")
    tree.text("clip/poses.txt", pose_lines(range(3)) + "\n")
    builder = build("kitti_odometry", tree.root / "clip", width=0, height=0)
    assert builder.info.metadata["found"]["notes"] == [] and list(builder.info.splits) == ["train"]
    records = read(builder, "train")
    assert list(records) == ["clip_000000", "clip_000001", "clip_000002"]
    record = records["clip_000002"]
    assert record["image"].shape == (192, 640, 3)
    np.testing.assert_allclose(record["intrinsics"][0, 0], 72 * 640 / 124, rtol=1e-6)
    np.testing.assert_allclose(record["pose"], [*pose(2), [0, 0, 0, 1]], atol=1e-8)


def test_a_part_of_a_sequence_may_come_with_its_own_lines_of_poses(new_tree, scan):
    tree = new_tree()
    write_sequence(tree, "clip", "image_0", (7, 8, 9))
    tree.text("clip/poses.txt", pose_lines((7, 8, 9)))
    (clip,) = scan("kitti_odometry", tree.root / "clip").splits["train"]
    for frame, n in zip(clip.frames, (7, 8, 9), strict=True):
        np.testing.assert_allclose(np.reshape(frame.pose, (4, 4))[:3], pose(n), atol=1e-8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("calib.txt", None, "No such file"),
        ("calib.txt", "", "no line P0"),
        ("calib.txt", f"P2: {COLOR}", "no line P0"),
        ("calib.txt", "P0: 72 0 61 0", "expected 12 numbers"),
        ("calib.txt", LEFT.replace("72", "x"), "could not convert"),
        ("calib.txt", LEFT.replace("72", "nan"), "expected 12 numbers"),
        ("calib.txt", LEFT.replace("0 0 1 0", "0 0 2 0"), "should begin with 0 0 1"),
        ("calib.txt", "0.58 0 0.49 0 0 1.9 0.49 0 0 0 1 0", "look normalised"),
        ("calib.txt", "707 0 601.9 0 0 707 183.1 0 0 0 1 0", "for an image of about 1204x366"),
        ("poses.txt", pose_lines(range(2)), "2 poses are too few for the 3 images"),
        ("poses.txt", pose_lines(range(3)) + "0 0 0 0 0 0 1", "expected 12 numbers"),
        ("poses.txt", pose_lines(range(3)).replace("1.100000000e+00", "inf"), "expected 12 numbers"),
        ("poses.txt", "", "0 poses are too few"),
    ],
)
def test_broken_files_are_named(new_tree, scan, name, content, message):
    tree = new_tree()
    write_sequence(tree, "clip", "image_0", range(3))
    if content is None:
        (tree.root / "clip" / name).unlink()
    else:
        tree.text(f"clip/{name}", content)
    with pytest.raises(SourceError, match=f"clip/{name}") as error:
        scan("kitti_odometry", tree.root / "clip")
    assert message in str(error.value)


def test_a_broken_first_image_does_not_hide_the_size_of_the_others(new_tree, scan):
    tree = new_tree()
    write_sequence(tree, "clip", "image_0", range(3))
    tree.text("clip/image_0/000000.png", "no image")
    (clip,) = scan("kitti_odometry", tree.root / "clip").splits["train"]
    assert len(clip.frames) == 3 and (clip.frames[0].camera.width, clip.frames[0].camera.height) == SIZE
    for n in range(3):
        tree.text(f"clip/image_0/{n:06d}.png", "no image")
    with pytest.raises(SourceError, match="image_0/000000.png: cannot identify image"):
        scan("kitti_odometry", tree.root / "clip")


def test_folders_without_images(new_tree, scan):
    tree = new_tree()
    tree.text("devkit/readme.txt", "")
    with pytest.raises(SourceError, match=r"(?s)neither sequences nor images.*sequences/<nn>/.*devkit/"):
        scan("kitti_odometry", tree.root)
    (tree.root / "clip" / "image_0").mkdir(parents=True)
    with pytest.raises(SourceError, match="image_0 holds no images"):
        scan("kitti_odometry", tree.root / "clip")


def test_real_files(real_data, tmp_path, build, read):
    source = real_data("kitti_odometry_clip")
    (tmp_path / "image_l").mkdir()
    for n in range(3):
        shutil.copy(source / "image_l" / f"{n:06d}.png", tmp_path / "image_l")
    for name in ("calib.txt", "poses.txt"):
        shutil.copy(source / name, tmp_path)
    builder = build("kitti_odometry", tmp_path, width=320, height=96)
    records = list(read(builder, "train").values())
    assert len(records) == 3 and records[1]["image"].shape == (96, 320, 3)
    np.testing.assert_allclose(records[1]["intrinsics"][0], [707.0912 * 320 / 1226, 0, 156.73], atol=0.01)
    # The car drives ahead, more than a metre per frame.
    motion = np.linalg.inv(records[1]["pose"]) @ records[2]["pose"]
    np.testing.assert_allclose(motion[:3, :3], np.eye(3), atol=0.01)
    assert 1 < motion[2, 3] < 2 and np.abs(motion[:2, 3]).max() < 0.1
