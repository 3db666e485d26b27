"""The two solids that make up every object: convex polytopes and ellipsoids.

World frame: x right, y down, z along the road; the ground is the plane y = 0. An object has its own frame, turned by
`yaw` about the vertical, in which parts are given as (x right, height up, z forward), in metres.

Both solids are cheap to render: in image coordinates the inverse depth of a plane is affine, and that of an ellipsoid
is affine plus the root of a quadratic form, so that a ray test takes a few additions.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """A pattern of filled cells on a face: windows, bricks, slats, lamps.

    Attributes:
      color: albedo of the filling.
      cell_u, cell_v: size of a cell along the face and upwards, in metres; cell borders lie at u = 0 and v = low.
      fill_u, fill_v: share of the cell that is filled, around its centre.
      low, high: heights between which there are cells.
      stagger: shift of every other row, in cells.
      jitter: relative variation of the filling's brightness from cell to cell.
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
    """All solids of a scene as arrays: P solids with F faces in total (an ellipsoid counts as one face).

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
      radii: [P, 3] of ellipsoids, else 0.
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
    """Collects solids while a scene is laid out."""

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
        dtypes = {"label": np.uint8, "is_ellipsoid": bool, "grid": np.int32}

        def arrays(parts, key):
            return [np.asarray(part[key], dtypes.get(key, np.float64)) for part in parts]

        counts = [len(f["offset"]) for f in self.faces]
        rows = [(*g.color, *g[1:]) for g in self.grids] or [(0.0,) * 11]
        return Primitives(
            **{key: np.stack(arrays(self.solids, key)) for key in self.solids[0]},
            **{key: np.concatenate(arrays(self.faces, key)) for key in self.faces[0]},
            first_face=np.concatenate([[0], np.cumsum(counts)]),
            owner=np.repeat(np.arange(len(counts)), counts),
            grids=np.asarray(rows, np.float32),
        )


_ORIGIN, _GREY = (0.0, 0.0, 0.0), (0.4, 0.4, 0.4)


class Body:
    """An object under construction: a place in the world, to which parts are added in the object's own frame."""

    def __init__(self, out: Collection, label: int, x: float, z: float, yaw=0.0, velocity=(0.0, 0.0)):
        """`velocity` is (x, z) in metres per frame, in the world."""
        self.out, self.label, self.x, self.z, self.yaw = out, label, x, z, yaw
        self.velocity = (velocity[0], 0.0, velocity[1])
        c, s = math.cos(yaw), math.sin(yaw)
        self.rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        # One texture shift per object rather than per part makes no seams within an object.
        self.texture_offset = out.rng.uniform(0, 20, 2)

    def shadow(self, width: float, length: float, strength: float = 0.5):
        """Darkens the ground underneath by a contact shadow, a rectangle with soft borders."""
        place, half_size = (self.x, self.z, self.yaw), (width / 2, length / 2)
        self.out.shadows.append((*place, *half_size, self.velocity[0], self.velocity[2], strength))

    def _add(self, at, low, high, label, faces: dict, radii=(0, 0, 0), is_ellipsoid=False):
        """Adds a solid at (x, height, z); normals and tangents of its faces are in the object's frame with y down."""
        rotated = {key: np.asarray(faces[key]) @ self.rotation.T for key in ("normal", "tangent_u", "tangent_v")}
        texture_offset = np.tile(self.texture_offset, (len(faces["offset"]), 1))
        self.out.faces.append(faces | rotated | {"texture_offset": texture_offset})
        place = np.array([self.x, 0.0, self.z]) + self.rotation @ np.array([at[0], -at[1], at[2]])
        solid = {"position": place, "velocity": self.velocity, "low": low, "high": high, "rotation": self.rotation}
        label = self.label if label is None else label
        self.out.solids.append({**solid, "radii": radii, "label": label, "is_ellipsoid": is_ellipsoid})

    def _polytope(self, at, low, high, normals, offsets, color, contrast=0.12, grids=None, colors=None, label=None):
        """Adds a polytope with normals [F, 3] in the object's frame with y down, and offsets [F].

        `grids` and `colors` are given per face: {index of the face: Grid or colour}.
        """
        count, length = len(normals), np.linalg.norm(normals, axis=1)
        normals = np.asarray(normals, float) / length[:, None]
        side = np.argmax(np.abs(normals) * [1.0, 1.2, 1.0], axis=1)
        tangent_u = np.where((side == 0)[:, None], [0.0, 0, 1], [1.0, 0, 0])
        tangent_v = np.where((side == 1)[:, None], [0.0, 0, 1], [0.0, -1, 0])
        albedo = np.tile(np.asarray(color, float), (count, 1))
        for index, value in (colors or {}).items():
            albedo[index] = value
        rows = np.full(count, -1)
        for index, grid in (grids or {}).items():
            rows[index] = self.out.grid_row(grid)
        faces = {"normal": normals, "offset": np.asarray(offsets) / length, "grid": rows, "albedo": albedo}
        faces |= {"tangent_u": tangent_u, "tangent_v": tangent_v, "contrast": np.full(count, contrast)}
        self._add(at, low, high, label, faces)

    def box(self, size, at=_ORIGIN, color=_GREY, contrast=0.12, taper=(0.0, 0.0), **look):
        """Adds a box or, with `taper`, a frustum whose top is narrower by that share in x and z.

        Args:
          size: (width, height, length).
          at: (x, height, z) of the bottom's centre.
          look: grids, colors, label of `_polytope`. Faces: 0 right, 1 left, 2 front (+z), 3 back, 4 top, 5 bottom.
        """
        hx, height, hz = size[0] / 2, size[1], size[2] / 2
        sx, sz = hx * taper[0] / height, hz * taper[1] / height
        normals = [(1, -sx, 0), (-1, -sx, 0), (0, -sz, 1), (0, -sz, -1), (0, -1, 0), (0, 1, 0)]
        offsets = [hx, hx, hz, hz, height, 0.0]
        self._polytope(at, (-hx, -height, -hz), (hx, 0, hz), normals, offsets, color, contrast, **look)

    def prism(self, radius, length, at=_ORIGIN, axis="y", sides=6, taper=0.0, turn=0.5, color=_GREY, **look):
        """Adds a regular prism (roughly a cylinder) or, with `taper`, a truncated pyramid.

        Args:
          radius: of the inscribed circle.
          at: (x, height, z) of the bottom's centre with axis "y", else of the solid's centre.
          look: contrast, grids, colors, label of `_polytope`. Faces: the sides, the end at -axis ("y": the top), the
            other end.
        """
        angles = (np.arange(sides) + turn) * (2 * np.pi / sides)
        c, s, zero = np.cos(angles), np.sin(angles), np.zeros(sides)
        outer = radius / math.cos(math.pi / sides)
        ends, end_offsets = np.outer([-1, 1], [axis == k for k in "xyz"]), [length / 2, length / 2]
        if axis == "y":
            normals, end_offsets = np.stack([c, zero - radius * taper / length, s], 1), [length, 0.0]
            low, high = (-outer, -length, -outer), (outer, 0, outer)
        elif axis == "x":
            normals = np.stack([zero, c, s], 1)
            low, high = (-length / 2, -outer, -outer), (length / 2, outer, outer)
        else:
            normals = np.stack([s, c, zero], 1)
            low, high = (-outer, -outer, -length / 2), (outer, outer, length / 2)
        normals, offsets = np.concatenate([normals, ends]), np.concatenate([np.full(sides, radius), end_offsets])
        self._polytope(at, low, high, normals, offsets, color, **look)

    def ellipsoid(self, radii, at=_ORIGIN, color=_GREY, contrast=0.12, label=None):
        """Adds an ellipsoid; radii: (x, vertical, z); at: (x, height, z) of the centre."""
        radii = np.asarray(radii, float)
        faces = {"normal": [[0.0, 0.0, 0.0]], "offset": [0.0], "grid": [-1], "albedo": [color], "contrast": [contrast]}
        faces |= {"tangent_u": [[0.8, 0.0, 0.6]], "tangent_v": [[0.25, -1.0, -0.33]]}
        self._add(at, -radii, radii, label, faces, radii=radii, is_ellipsoid=True)
