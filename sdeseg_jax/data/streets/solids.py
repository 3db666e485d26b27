"""The two solids of which every object is made: convex polytopes and ellipsoids.

World frame: x right, y down, z along the road; the ground is the plane y = 0. An object has its own frame, turned by
`yaw` about the vertical, in which parts are given as (x right, height up, z forward), in metres.

Both solids are chosen for what they cost to render: in image coordinates the inverse depth of a plane is affine, and
that of an ellipsoid is affine plus the root of a quadratic form, so that a ray test is a few additions.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """A pattern of filled cells on a face: windows, bricks, slats, lamps.

    Attributes:
      color: albedo of the filling.
      cell_u, cell_v: size of a cell along the face and upwards, in metres; a cell border lies at u = 0 and at v = low.
      fill_u, fill_v: share of the cell that is filled, around its centre.
      low, high: heights between which there are cells.
      stagger: shift of every other row, in cells.
      jitter: how much the filling's brightness varies from cell to cell.
    """

    color: tuple[float, float, float]
    cell_u: float
    cell_v: float
    fill_u: float
    fill_v: float
    low: float = -1e3
    high: float = 1e3
    stagger: float = 0.0
    jitter: float = 0.0


@dataclasses.dataclass(frozen=True)
class Primitives:
    """All solids of a scene as arrays; P solids with F faces in all (an ellipsoid counts as one face).

    Attributes:
      position: [P, 3] world position of the base centre in frame 0.
      velocity: [P, 3] metres per frame.
      low, high: [P, 3] bounds in the object's frame, y down.
      rotation: [P, 3, 3] object to world.
      label: [P] train ids.
      first_face: [P + 1]; faces of solid p are first_face[p]:first_face[p + 1].
      is_ellipsoid: [P].
      owner: [F] solid of a face.
      normal: [F, 3] outward, in the world; for an ellipsoid its centre relative to `position`.
      offset: [F] of the plane normal · (x - position) = offset.
      radii: [P, 3] of an ellipsoid, else 0.
      tangent_u, tangent_v: [F, 3] directions of the texture coordinates in the world.
      albedo: [F, 3]; contrast: [F]; texture_offset: [F, 2] in metres.
      grid: [F] row of `grids`, or -1; grids: [G, 11].
    """

    position: np.ndarray
    velocity: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rotation: np.ndarray
    label: np.ndarray
    first_face: np.ndarray
    is_ellipsoid: np.ndarray
    owner: np.ndarray
    normal: np.ndarray
    offset: np.ndarray
    radii: np.ndarray
    tangent_u: np.ndarray
    tangent_v: np.ndarray
    albedo: np.ndarray
    contrast: np.ndarray
    texture_offset: np.ndarray
    grid: np.ndarray
    grids: np.ndarray

    def __len__(self) -> int:
        return len(self.label)


class Collection:
    """Gathers solids while a scene is laid out."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.solids: list[dict] = []
        self.faces: list[dict] = []
        self.grids: list[Grid] = []
        self.shadows: list[tuple] = []

    def grid_row(self, grid: Grid | None) -> int:
        if grid is None:
            return -1
        self.grids.append(grid)
        return len(self.grids) - 1

    def freeze(self) -> Primitives:
        def solid(key, dtype=np.float64):
            return np.asarray([s[key] for s in self.solids], dtype)

        def face(key, dtype=np.float64):
            return np.concatenate([np.asarray(f[key], dtype) for f in self.faces])

        counts = [len(f["offset"]) for f in self.faces]
        rows = [(*g.color, *g[1:]) for g in self.grids] or [(0.0,) * 11]
        return Primitives(
            position=solid("position"), velocity=solid("velocity"), low=solid("low"), high=solid("high"),
            rotation=solid("rotation"), label=solid("label", np.uint8), radii=solid("radii"),
            is_ellipsoid=solid("is_ellipsoid", bool), first_face=np.concatenate([[0], np.cumsum(counts)]),
            owner=np.repeat(np.arange(len(counts)), counts), normal=face("normal"), offset=face("offset"),
            tangent_u=face("tangent_u"), tangent_v=face("tangent_v"), albedo=face("albedo"), contrast=face("contrast"),
            texture_offset=face("texture_offset"), grid=face("grid", np.int32), grids=np.asarray(rows, np.float32),
        )  # fmt: skip


class Body:
    """An object in the making: a place in the world, to which parts are added in the object's own frame."""

    def __init__(self, out: Collection, label: int, x: float, z: float, yaw=0.0, velocity=(0.0, 0.0)):
        """`velocity` is (x, z) in metres per frame, in the world."""
        self.out, self.label, self.x, self.z, self.yaw = out, label, x, z, yaw
        self.velocity = (velocity[0], 0.0, velocity[1])
        c, s = math.cos(yaw), math.sin(yaw)
        self.rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        # One texture shift per object and not per part: it costs nothing and makes no seams within an object.
        self.texture_offset = out.rng.uniform(0, 20, 2)

    def shadow(self, width: float, length: float, strength: float = 0.5):
        """Darkens the ground underneath (contact shadow), a rectangle with soft borders."""
        self.out.shadows.append((self.x, self.z, self.yaw, width / 2, length / 2, self.velocity[0], self.velocity[2],
                                 strength))  # fmt: skip

    def _place(self, x, height, z) -> np.ndarray:
        return np.array([self.x, 0.0, self.z]) + self.rotation @ np.array([x, -height, z])

    def _add(self, place, low, high, faces, is_ellipsoid=False, radii=(0, 0, 0), label=None):
        self.out.solids.append(
            dict(position=place, velocity=self.velocity, low=low, high=high, rotation=self.rotation, radii=radii,
                 label=self.label if label is None else label, is_ellipsoid=is_ellipsoid)
        )  # fmt: skip
        self.out.faces.append(faces)

    def _polytope(self, place, low, high, normals, offsets, color, contrast, grids, colors, label):
        """normals [F, 3] in the object's frame with y down, offsets [F]."""
        normals = np.asarray(normals, float)
        length = np.linalg.norm(normals, axis=1)
        normals = normals / length[:, None]
        count = len(normals)
        side = np.argmax(np.abs(normals) * [1.0, 1.2, 1.0], axis=1)
        tangent_u = np.where((side == 0)[:, None], [0.0, 0, 1], [1.0, 0, 0])
        tangent_v = np.where((side == 1)[:, None], [0.0, 0, 1], [0.0, -1, 0])
        albedo = np.tile(np.asarray(color, float), (count, 1))
        for index, value in (colors or {}).items():
            albedo[index] = value
        rows = np.full(count, -1)
        for index, grid in (grids or {}).items():
            rows[index] = self.out.grid_row(grid)
        faces = dict(
            normal=normals @ self.rotation.T, offset=np.asarray(offsets) / length, grid=rows,
            tangent_u=tangent_u @ self.rotation.T, tangent_v=tangent_v @ self.rotation.T, albedo=albedo,
            contrast=np.full(count, contrast), texture_offset=np.tile(self.texture_offset, (count, 1)),
        )  # fmt: skip
        self._add(place, low, high, faces, label=label)

    def box(self, size, at=(0.0, 0.0, 0.0), color=(0.5, 0.5, 0.5), contrast=0.12, taper=(0.0, 0.0), grids=None,
            colors=None, label=None):  # fmt: skip
        """A box or, with `taper`, a frustum whose top is narrower by that share in x and z.

        size: (width, height, length); at: (x, height, z) of the bottom's centre. `grids` and `colors` are given per
        face: 0 right, 1 left, 2 front (+z), 3 back, 4 top, 5 bottom.
        """
        width, height, length = size
        hx, hz = width / 2, length / 2
        sx, sz = hx * taper[0] / height, hz * taper[1] / height
        normals = [(1, -sx, 0), (-1, -sx, 0), (0, -sz, 1), (0, -sz, -1), (0, -1, 0), (0, 1, 0)]
        offsets = [hx, hx, hz, hz, height, 0.0]
        self._polytope(self._place(*at), (-hx, -height, -hz), (hx, 0, hz), normals, offsets, color, contrast, grids,
                       colors, label)  # fmt: skip

    def prism(self, radius, length, at=(0.0, 0.0, 0.0), axis="y", sides=6, taper=0.0, turn=0.5, color=(0.4, 0.4, 0.4),
              contrast=0.12, grids=None, colors=None, label=None):  # fmt: skip
        """A regular prism (a cylinder, roughly) or, with `taper`, a pyramid's stump.

        `radius` is that of the inscribed circle. With axis "y", `at` is the bottom's centre, else the solid's centre.
        Faces: the sides first, then the end at -axis (for "y" the top), then the other end.
        """
        angles = (np.arange(sides) + turn) * (2 * np.pi / sides)
        c, s, zero = np.cos(angles), np.sin(angles), np.zeros(sides)
        outer = radius / math.cos(math.pi / sides)
        if axis == "y":
            normals = np.stack([c, zero - radius * taper / length, s], 1)
            ends, end_offsets = [(0, -1, 0), (0, 1, 0)], [length, 0.0]
            low, high = (-outer, -length, -outer), (outer, 0, outer)
        elif axis == "x":
            normals = np.stack([zero, c, s], 1)
            ends, end_offsets = [(-1, 0, 0), (1, 0, 0)], [length / 2, length / 2]
            low, high = (-length / 2, -outer, -outer), (length / 2, outer, outer)
        else:
            normals = np.stack([s, c, zero], 1)
            ends, end_offsets = [(0, 0, -1), (0, 0, 1)], [length / 2, length / 2]
            low, high = (-outer, -outer, -length / 2), (outer, outer, length / 2)
        self._polytope(self._place(*at), low, high, np.concatenate([normals, ends]),
                       np.concatenate([np.full(sides, radius), end_offsets]), color, contrast, grids, colors,
                       label)  # fmt: skip

    def ellipsoid(self, radii, at=(0.0, 0.0, 0.0), color=(0.4, 0.4, 0.4), contrast=0.12, label=None):
        """radii: (x, vertical, z); at: (x, height, z) of the centre."""
        radii = np.asarray(radii, float)
        faces = dict(
            normal=np.zeros((1, 3)), offset=[0.0], grid=[-1], tangent_u=np.array([[0.8, 0.0, 0.6]]) @ self.rotation.T,
            tangent_v=np.array([[0.25, -1.0, -0.33]]) @ self.rotation.T, albedo=[color], contrast=[contrast],
            texture_offset=[self.texture_offset],
        )  # fmt: skip
        self._add(self._place(*at), -radii, radii, faces, is_ellipsoid=True, radii=radii, label=label)
