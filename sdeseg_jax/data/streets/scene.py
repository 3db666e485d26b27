"""One scene: its layout, its light and the camera's path."""

import dataclasses
import math
import zlib

import numpy as np

from sdeseg_jax.data.streets.domain_looks import Domain, Viewpoint
from sdeseg_jax.data.streets.layout import Ground, Layout
from sdeseg_jax.data.streets.objects import ID, Maker
from sdeseg_jax.data.streets.solids import Collection, Primitives

SKY = ID["sky"]
SPLITS = ("train", "validation")


@dataclasses.dataclass(frozen=True)
class Light:
    """Direction [3] towards the sun; colours [3] sun, ambient, horizon, zenith, tint; haze per metre."""

    direction: np.ndarray
    sun: np.ndarray
    ambient: np.ndarray
    horizon: np.ndarray
    zenith: np.ndarray
    tint: np.ndarray
    haze: float
    cloud: float
    cloud_phase: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scene:
    """A world and the camera's path through it; independent of resolution.

    Attributes:
      solids: everything that stands on the ground.
      shadows: [S, 8] x, z, yaw, half width, half length, velocity x, velocity z, strength.
      poses: [T, 4, 4] float64, camera to world (camera: x right, y down, z forward).
      field_of_view: horizontal, radians.
    """

    solids: Primitives
    shadows: np.ndarray
    ground: Ground
    light: Light
    poses: np.ndarray
    field_of_view: float

    def intrinsics(self, height: int, width: int) -> np.ndarray:
        """Returns [3, 3] float64 in pixels of an image of this size; square pixels, principal point in the centre."""
        focal = width / 2 / math.tan(self.field_of_view / 2)
        return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def _rotation(yaw: float, pitch: float) -> np.ndarray:
    """Returns camera to world [3, 3]; positive yaw turns right, positive pitch looks down."""
    c, s, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])


def _choose_viewpoint(domain: Domain, rng: np.random.Generator) -> tuple[Viewpoint, float, int]:
    """Draws a viewpoint, the angle between looking and moving in radians, and a side for the kerb (0 left, 1 right)."""
    number, place = rng.uniform(), 0.0
    side, turn = int(rng.integers(2)), rng.uniform()
    for view in domain.viewpoints:
        place += view.share
        if number < place:
            angle = view.turn[0] + turn * (view.turn[1] - view.turn[0])
            return view, angle if rng.random() < 0.5 else -angle, side
    return Viewpoint(1.0, domain.camera_height), 0.0, side


def _camera_path(
    domain: Domain, view: Viewpoint, turned: float, rng: np.random.Generator, frames: int, step: float
) -> np.ndarray:
    """Returns poses [T, 4, 4] in the lane; frame t does not depend on the number of frames."""
    height, tilt = rng.uniform(*view.height), rng.uniform(*domain.camera_pitch)
    yaw, turn, x, z = rng.normal(0, 0.005), rng.normal(0, domain.yaw_step), rng.uniform(-0.25, 0.25), 0.0
    poses = []
    for _ in range(frames):
        jitter = rng.normal(0, 1, 4)
        pose = np.eye(4)
        pose[:3, :3] = _rotation(yaw + turned, tilt + domain.pitch_jitter * jitter[0])
        pose[:3, 3] = x, -height - domain.height_jitter * jitter[1], z
        poses.append(pose)
        length = step * (1 + 0.03 * jitter[2])
        x, z = x + length * math.sin(yaw), z + length * math.cos(yaw)
        # The turn is a smooth process of standard deviation yaw_step; the driver steers back to the lane's middle.
        turn = 0.6 * turn + 0.8 * domain.yaw_step * jitter[3]
        yaw += turn - 0.08 * yaw - 0.0004 * x
    return np.stack(poses)


def _make_light(make: Maker) -> Light:
    domain, rng = make.domain, make.rng
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.2)
    flat = math.cos(elevation)
    direction = np.array([flat * math.sin(azimuth), -math.sin(elevation), flat * math.cos(azimuth)])
    tint = make.color("light")
    zenith, horizon = (np.array(domain.palettes[k][rng.integers(len(domain.palettes[k]))]) for k in ("sky", "horizon"))
    brightness = rng.uniform(0.85, 1.1)
    return Light(
        direction=direction,
        sun=rng.uniform(*domain.sun) * np.array([1.0, 0.96, 0.88]),
        ambient=rng.uniform(*domain.ambient) * np.array([0.97, 1.0, 1.04]),
        horizon=np.minimum(horizon * rng.uniform(0.88, 1.05), 1).astype(np.float32),
        zenith=np.minimum(zenith * rng.uniform(0.85, 1.1), 1).astype(np.float32),
        tint=(np.clip(tint / tint.mean(), 0.85, 1.15) * brightness).astype(np.float32),
        haze=float(rng.uniform(*domain.haze)),
        cloud=float(rng.uniform(0, 0.05)),
        cloud_phase=rng.uniform(0, 6, 2),
    )


def make_scene(domain: Domain, seed: int, split: str, index: int, frames: int) -> Scene:
    """Makes the scene of a clip, as a function of the arguments alone.

    Args:
      domain: ranges to draw from.
      seed: of the dataset.
      split: "train" or "validation"; the two share no scene.
      index: number of the scene within its split.
      frames: length of the camera's path. More frames only continue it (clips of up to 40 m have the same world).
    """
    identity = [seed, SPLITS.index(split), index, zlib.crc32(domain.name.encode())]
    world, camera, viewpoint = (np.random.default_rng([*identity, stream]) for stream in range(3))
    view, turned, side = _choose_viewpoint(domain, viewpoint)
    step, field_of_view = (float(camera.uniform(*bounds)) for bounds in (domain.step, domain.field_of_view))
    poses = _camera_path(domain, view, turned, camera, frames, step * view.pace)
    # The world grows in whole blocks with the length of the camera's path.
    length = 130.0 + 40.0 * max(0, math.ceil(step * frames / 40) - 1)
    make = Maker(Collection(world), world, domain)
    light, layout = _make_light(make), Layout(make, domain, step, length)
    ground = layout.make_ground()
    layout.add_furniture()
    layout.add_traffic()
    layout.add_backdrop()
    if view.at_kerb:
        poses[:, 0, 3] += layout.kerbside(side)
    solids = make.out.freeze()
    solids = dataclasses.replace(solids, contrast=solids.contrast * world.uniform(*domain.texture_contrast))
    shadows = np.asarray(make.out.shadows, float).reshape(-1, 8)
    return Scene(solids, shadows, ground, light, poses, field_of_view)
