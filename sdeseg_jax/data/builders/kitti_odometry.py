"""KITTI's odometry sequences with poses, to evaluate motion and depth learned from video."""

import math
import pathlib

import numpy as np

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.camera_intrinsics import Camera, check_camera
from sdeseg_jax.data.builders.frame_encoding import image_size
from sdeseg_jax.data.builders.frame_order import natural_key
from sdeseg_jax.data.builders.scanned_clips import Clip, Scan, describe, numbered_files, video_clips
from sdeseg_jax.data.builders.source_errors import SourceError

VALIDATION = ("09", "10")
"""The usual split of the sequences with poses."""

CAMERAS = {"image_2": "P2", "image_0": "P0", "image_l": "P0"}
"""Folder of left images, colour before grey -> name of its line in calib.txt."""


class KittiOdometry(FramesBuilder, skip_registration=True):
    """KITTI odometry: 10 Hz video without labels. Sequences 09 and 10 are `validation`.

    `pose` is that of the camera that took the image, in the coordinates of the sequence's first left grey image; NaN if
    the sequence has none (11 to 21).
    """

    LAYOUT = """
        sequences/<nn>/{image_2,image_0}/<frame>.png    (the first that exists)
        sequences/<nn>/calib.txt
        poses/<nn>.txt                                  (optional)
    or the folder of a single sequence:
        {image_2,image_0,image_l}/<frame>.png
        calib.txt
        poses.txt                                       (optional)
    """
    SIZE = (640, 192)
    HAS_POSES = True

    def scan(self, source: pathlib.Path) -> Scan:
        notes: list[str] = []
        if _image_folder(source):
            name = source.resolve().name
            return Scan({"train": _sequence(name, source, source / "poses.txt", notes)}, tuple(notes))
        if not (source / "sequences").is_dir():
            raise SourceError(f"{source} has neither sequences nor images.\n{describe(source, self.LAYOUT)}")
        splits: dict[str, list[Clip]] = {}
        folders = (path for path in (source / "sequences").iterdir() if path.is_dir())
        for folder in sorted(folders, key=lambda path: natural_key(path.name)):
            if _image_folder(folder):
                split = "validation" if folder.name in VALIDATION else "train"
                clips = _sequence(folder.name, folder, source / "poses" / f"{folder.name}.txt", notes)
                splits.setdefault(split, []).extend(clips)
            else:
                notes.append(f"sequence {folder.name} has no images; it is left out")
        return Scan(splits, tuple(notes))


def _image_folder(sequence: pathlib.Path) -> pathlib.Path | None:
    return next((sequence / name for name in CAMERAS if (sequence / name).is_dir()), None)


def _sequence(name: str, folder: pathlib.Path, pose_file: pathlib.Path, notes: list[str]) -> list[Clip]:
    images = _image_folder(folder)
    files = numbered_files(images)
    if not files:
        raise SourceError(f"{images} holds no images")
    camera, offset = read_calibration(folder / "calib.txt", CAMERAS[images.name], image_size(files.values()))
    if not pose_file.exists():
        notes.append(f"{pose_file} is missing: sequence {name} has no poses")
        return video_clips(name, files, camera)
    poses = read_poses(pose_file, offset)
    # Line i belongs to frame i, but a part of a sequence may come with the lines of that part only.
    lines = range(len(files)) if len(poses) == len(files) else files
    if max(lines) >= len(poses):
        raise SourceError(f"{pose_file}: {len(poses)} poses are too few for the {len(files)} images of {images}")
    return video_clips(name, files, camera, {n: poses[line] for n, line in zip(files, lines, strict=True)})


def read_calibration(path: pathlib.Path, name: str, image_size: tuple[int, int]) -> tuple[Camera, np.ndarray]:
    """Returns a camera's intrinsics, and its position [3] (m) in the coordinates of the left grey camera.

    Args:
      path: of calib.txt; its lines are a name and the 12 numbers of a projection matrix, row by row. Without names, the
        first line counts.
      name: of the camera, "P0" to "P3".
      image_size: (width, height).

    Raises:
      SourceError: the file is missing or damaged, has no such line, or its values are implausible.
    """
    try:
        lines = [line.rpartition(":") for line in path.read_text().splitlines() if line.strip()]
        numbers = next((values for label, _, values in lines if label.strip() in (name, "")), None)
        if numbers is None:
            raise ValueError(f"no line {name}")
        matrix = np.array(_twelve_numbers(numbers)).reshape(3, 4)
        if matrix[2, :3].tolist() != [0, 0, 1]:
            raise ValueError("the last row of a projection matrix should begin with 0 0 1")
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: is not a KITTI calibration file ({error})") from error
    fx, fy, cx, cy = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
    camera = check_camera(Camera(fx, fy, cx, cy, *image_size), str(path))
    # P = K [I | t] takes points in the grey camera's coordinates, where this camera's centre is at -t.
    return camera, -np.linalg.solve(matrix[:, :3], matrix[:, 3])


def read_poses(path: pathlib.Path, offset: np.ndarray) -> list[tuple[float, ...]]:
    """Returns camera-to-world poses, 16 numbers row by row, one for every line of a pose file.

    Args:
      path: of the left grey camera's poses; a line is the upper 3x4 of camera to world, row by row, in metres.
      offset: [3] position of the camera whose poses are returned, in the left grey camera's coordinates, in metres.

    Raises:
      SourceError: the file is missing, or a line is damaged.
    """
    shift = np.eye(4)
    shift[:3, 3] = offset
    try:
        lines = [_twelve_numbers(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: is not a file of poses ({error})") from error
    poses = [np.array([*line, 0, 0, 0, 1]).reshape(4, 4) @ shift for line in lines]
    return [tuple(pose.ravel().tolist()) for pose in poses]


def _twelve_numbers(line: str) -> list[float]:
    values = [float(word) for word in line.split()]
    if len(values) != 12 or not all(map(math.isfinite, values)):
        raise ValueError(f"expected 12 numbers, not {line.strip()[:60]!r}")
    return values
