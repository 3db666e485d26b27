"""Casts the rays of one frame in NumPy: first finds the face that every ray hits (in inverse depth), then all colours.

Colours are sampled on a grid of half pixels that includes the pixel centres, and filtered with a tent of ±1/2 pixel
(1/4, 1/2, 1/4 along both axes); depth and labels are those of the rays through pixel centres. Camera frame: x right,
y down, z forward. Pixel centres lie at integer coordinates.
"""

import numpy as np

from sdeseg_jax.data.streets import textures
from sdeseg_jax.data.streets.layout import Ground
from sdeseg_jax.data.streets.scene import SKY, Light, Scene
from sdeseg_jax.data.streets.solids import Primitives

_NEAR = 0.05  # metres; closer surfaces are cut away
_FAR = 400.0  # metres; the ground ends and the sky begins
_GROUND = -1
_NOTHING = -2


class _Rays:
    """Sample positions of a frame: normalised image coordinates xs [2W + 1], ys [2H + 1], and the camera."""

    def __init__(self, scene: Scene, frame: int, height: int, width: int):
        k = self.intrinsics = scene.intrinsics(height, width)
        self.pose, self.focal = scene.poses[frame], float(k[0, 0])
        self.rotation, self.origin = self.pose[:3, :3], self.pose[:3, 3]
        self.xs = ((np.arange(2 * width + 1) * 0.5 - 0.5 - k[0, 2]) / k[0, 0]).astype(np.float32)
        self.ys = ((np.arange(2 * height + 1) * 0.5 - 0.5 - k[1, 2]) / k[1, 1]).astype(np.float32)

    def directions(self, index: np.ndarray) -> list[np.ndarray]:
        """Returns world directions (of length 1 along the optical axis) of samples by flat index: 3 arrays [N]."""
        row, column = np.divmod(index, len(self.xs))
        x, y, r = self.xs[column], self.ys[row], self.rotation.astype(np.float32)
        return [r[k, 0] * x + r[k, 1] * y + r[k, 2] for k in range(3)]

    def bounds(self, corners: np.ndarray) -> np.ndarray:
        """Returns rectangles of samples that contain convex hulls: [P, 5] x0, x1, y0, y1, depth.

        Corners [P, 8, 3] are in the world. Of a hull that reaches behind the camera, the part before the near plane
        counts; the rectangle may be larger than needed, never smaller.
        """
        local = (corners - self.origin) @ self.rotation
        z = local[..., 2]
        projected = local[..., :2] / np.maximum(z, _NEAR)[..., None]
        low, high = projected.min(1), projected.max(1)
        # Such a hull may also touch the near plane between a corner behind it and a corner before it.
        straddles = (z.min(1) < _NEAR)[:, None]
        low = np.where(straddles, np.minimum(low, local[..., :2].min(1) / _NEAR), low)
        high = np.where(straddles, np.maximum(high, local[..., :2].max(1) / _NEAR), high)
        step_x, step_y = self.xs[1] - self.xs[0], self.ys[1] - self.ys[0]
        x = np.stack([(low[:, 0] - self.xs[0]) / step_x, (high[:, 0] - self.xs[0]) / step_x + 1], 1)
        y = np.stack([(low[:, 1] - self.ys[0]) / step_y, (high[:, 1] - self.ys[0]) / step_y + 1], 1)
        x, y = np.clip(np.ceil(x), 0, len(self.xs)), np.clip(np.ceil(y), 0, len(self.ys))
        x[z.max(1) < _NEAR] = 0
        return np.concatenate([x, y, np.maximum(z.min(1), _NEAR)[:, None]], 1)


def _corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns the corners [P, 8, 3] of bounds [P, 3]."""
    pick = (np.arange(8)[:, None] >> np.arange(3)) & 1
    return np.where(pick[None], high[:, None], low[:, None])


def _face_planes(solids: Primitives, centers: np.ndarray, rays: _Rays) -> tuple[np.ndarray, np.ndarray]:
    """Returns inverse depth of face planes as affine functions of (x, y, 1) [F, 3], and their camera distance [F]."""
    relative = rays.origin - centers[solids.owner]
    distance = np.einsum("fk,fk->f", solids.normal, relative) - solids.offset
    distance = np.where(np.abs(distance) < 1e-6, 1e-6, distance)
    return (-(solids.normal @ rays.rotation) / distance[:, None]).astype(np.float32), distance


def _cast(scene: Scene, rays: _Rays, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns inverse depth and face (or _GROUND, _NOTHING) of every sample's nearest surface; distance per face."""
    solids = scene.solids
    centers = solids.position + frame * solids.velocity
    planes, distance = _face_planes(solids, centers, rays)
    corners = np.einsum("pij,pcj->pci", solids.rotation, _corners(solids.low, solids.high)) + centers[:, None]
    bounds = rays.bounds(corners)
    boxes = bounds[:, :4].astype(int)

    down = (rays.rotation[1] / -rays.origin[1]).astype(np.float32)  # inverse depth of the plane y = 0
    ground = (down[0] * rays.xs)[None, :] + (down[1] * rays.ys + down[2])[:, None]
    hit = ground > 1 / _FAR
    inverse = np.where(hit, ground, np.float32(0))
    face = np.where(hit, np.int32(_GROUND), np.int32(_NOTHING))

    visible = np.flatnonzero((boxes[:, 1] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 2]))
    for solid in visible[np.argsort(bounds[visible, 4])]:  # from near to far, to skip hidden ones early
        x0, x1, y0, y1 = boxes[solid]
        region = inverse[y0:y1, x0:x1]
        if region.min() * bounds[solid, 4] >= 1:
            continue
        xs, ys = rays.xs[x0:x1], rays.ys[y0:y1]
        first, last = solids.first_face[solid], solids.first_face[solid + 1]
        if solids.is_ellipsoid[solid]:
            candidate, mask = _ellipsoid(solids, solid, centers[solid], rays, xs, ys)
            if candidate is None:
                continue
            mask &= candidate > region
            which = first
        else:
            # A ray is inside the solid where its inverse depth is below that of all planes that face the camera and
            # above that of all others; it enters at the smallest of the former.
            w = planes[first:last, 0, None, None] * xs
            w = w + (planes[first:last, 1, None] * ys + planes[first:last, 2, None])[:, :, None]
            front = np.flatnonzero(distance[first:last] > 0)
            if not len(front):
                continue  # the camera is inside
            candidate = w[front[0]]
            for k in front[1:]:
                candidate = np.minimum(candidate, w[k])
            limit = region
            for k in np.flatnonzero(distance[first:last] < 0):
                limit = np.maximum(limit, w[k])
            mask = candidate > limit
            which = first + front[0]
            if len(front) > 1:
                which = np.full(mask.shape, which, np.int32)
                for k in front[1:]:
                    which[w[k] <= candidate] = first + k
        np.copyto(region, candidate, where=mask)
        np.copyto(face[y0:y1, x0:x1], which, where=mask, casting="unsafe")
    return inverse, face, distance


def _ellipsoid(solids: Primitives, solid: int, center: np.ndarray, rays: _Rays, xs: np.ndarray, ys: np.ndarray):
    """Returns inverse depth of an ellipsoid in a region, and a mask of hits; (None, None) from inside."""
    scale = solids.rotation[solid].T / solids.radii[solid][:, None]
    start = scale @ (rays.origin - center)
    matrix = scale @ rays.rotation  # (x, y, 1) -> directions in the frame of the unit sphere
    outside = start @ start - 1
    if outside <= 0:
        return None, None
    linear = matrix.T @ start
    form = np.outer(linear, linear) - outside * (matrix.T @ matrix)
    root = (form[0, 0] * xs.astype(np.float64) ** 2 + 2 * form[0, 2] * xs)[None, :]
    root = root + (form[1, 1] * ys.astype(np.float64) ** 2 + 2 * form[1, 2] * ys + form[2, 2])[:, None]
    root += (2 * form[0, 1] * xs)[None, :] * ys[:, None]
    mask = root > 0
    candidate = np.sqrt(np.maximum(root, 0, out=root), out=root)
    candidate -= (linear[0] * xs)[None, :] + (linear[1] * ys + linear[2])[:, None]
    candidate /= outside
    return candidate.astype(np.float32), mask


def _lit(light: Light, normal: np.ndarray) -> np.ndarray:
    """Returns the Lambertian factor on the albedo [N, 3] for unit normals [N, 3]."""
    diffuse = light.ambient * (0.85 - 0.15 * normal[:, 1:2])  # the sky is above
    return (diffuse + light.sun * np.maximum(normal @ light.direction, 0)[:, None]).astype(np.float32)


def _shade_solids(scene: Scene, rays: _Rays, frame: int, index, face, inverse, distance) -> np.ndarray:
    """Returns the colours [N, 3] of samples that hit a solid."""
    solids = scene.solids
    centers = solids.position + frame * solids.velocity
    direction, depth = rays.directions(index), 1 / inverse
    # Texture coordinates are tangent · (origin + depth * direction - centre): gathers the constants of every face.
    relative = rays.origin - centers[solids.owner]
    u0 = np.einsum("fk,fk->f", solids.tangent_u, relative)
    v0 = np.einsum("fk,fk->f", solids.tangent_v, relative)
    scalars = [solids.tangent_u, u0, solids.tangent_v, v0, distance, solids.contrast]
    colors = [solids.texture_offset, solids.albedo, _lit(scene.light, solids.normal)]
    table = np.column_stack(scalars + colors).astype(np.float32).take(face, 0)
    u = (table[:, 0] * direction[0] + table[:, 1] * direction[1] + table[:, 2] * direction[2]) * depth + table[:, 3]
    v = (table[:, 4] * direction[0] + table[:, 5] * direction[1] + table[:, 6] * direction[2]) * depth + table[:, 7]
    albedo, lit = table[:, 12:15], table[:, 15:18]

    is_round = solids.is_ellipsoid[solids.owner[face]]
    length = np.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
    slant = np.clip(np.abs(table[:, 8]) * inverse / length, 0.1, 1)
    slant[is_round] = 0.7
    pixel = depth * (1 / rays.focal)
    noise = textures.sample(u + table[:, 10], v + table[:, 11], pixel / np.sqrt(slant))
    shade = 1 + table[:, 9] * noise

    rows = solids.grid[face]
    has_grid = np.flatnonzero(rows >= 0)
    if len(has_grid):
        cell, px = solids.grids[rows[has_grid]], pixel[has_grid]
        gu, gv = u[has_grid], v[has_grid] - cell[:, 7]
        row = np.floor(gv / cell[:, 4])
        shifted = gu + cell[:, 9] * cell[:, 3] * (row % 2)
        cover = textures.stripes(shifted, cell[:, 3], cell[:, 5], px / slant[has_grid])
        cover *= textures.stripes(gv, cell[:, 4], cell[:, 6], px)
        cover *= np.clip(gv / px + 0.5, 0, 1) * np.clip((cell[:, 8] - cell[:, 7] - gv) / px + 0.5, 0, 1)
        variation = textures.cell_hash(np.floor(shifted / cell[:, 3]), row, solids.owner[face[has_grid]])
        # Differences between cells smaller than two pixels average out.
        variation = (variation * 2 - 1) * np.clip(cell[:, 4] / px - 1, 0, 1)
        filling = cell[:, :3] * (1 + cell[:, 10] * variation)[:, None]
        albedo[has_grid] += (filling - albedo[has_grid]) * cover[:, None]

    if is_round.any():
        chosen = np.flatnonzero(is_round)
        owner = solids.owner[face[chosen]]
        point = np.stack([d[chosen] * depth[chosen] for d in direction], 1) + (rays.origin - centers[owner])
        local = np.einsum("nji,nj->ni", solids.rotation[owner], point) / solids.radii[owner] ** 2
        normal = np.einsum("nij,nj->ni", solids.rotation[owner], local)
        lit[chosen] = _lit(scene.light, normal / np.linalg.norm(normal, axis=1, keepdims=True))
    return albedo * lit * shade[:, None]


def _ground_labels(ground: Ground, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Returns the train ids of ground points [N]."""
    label = np.where((x > ground.road[0]) & (x < ground.road[1]), np.uint8(0), np.uint8(1))
    for side, (verge0, verge1, paved) in enumerate(ground.strips):
        outwards = x if side else -x
        curb = abs(ground.road[side])
        label[(outwards > curb + verge0) & (outwards < curb + verge1)] = 9
        beyond = np.flatnonzero(outwards > curb + paved)
        edges, kinds = ground.lots[side]
        label[beyond] = kinds[np.searchsorted(edges, z[beyond])]
    for low, high in ground.crossings:
        label[(z > low) & (z < high)] = 0
    return label


def _shade_ground(scene: Scene, rays: _Rays, frame: int, index, inverse) -> tuple[np.ndarray, np.ndarray]:
    """Returns the colours [N, 3] and labels [N] of samples that hit the ground."""
    ground, depth = scene.ground, 1 / inverse
    dx, _, dz = rays.directions(index)
    x, z = dx * depth + np.float32(rays.origin[0]), dz * depth + np.float32(rays.origin[2])
    side = depth * (1 / rays.focal)  # a pixel's extent across and along the road
    along = (side * depth * (1 / -rays.origin[1])).astype(np.float32)
    label = _ground_labels(ground, x, z)
    kind = np.array([0, 1, 0, 0, 0, 0, 0, 0, 0, 2])[label]  # road, paving, grass
    noise = textures.sample(x + np.float32(kind * 7.3 + 40), z, np.sqrt(side * along))
    albedo = ground.albedo[kind] * (1 + ground.contrast[kind] * noise)[:, None]
    # A second, coarser noise blends another tone into lawns.
    grass = np.flatnonzero(kind == 2)
    tone = textures.sample(x[grass] * 0.21, z[grass] * 0.21, np.maximum(along[grass] * 0.21, 0.1))
    albedo[grass] += np.clip(tone * 0.5 + 0.3, 0, 0.8)[:, None] * (ground.second_grass - albedo[grass])

    paved, slab = np.flatnonzero(kind == 1), np.float32(ground.slab)
    joints = textures.stripes(x[paved] + slab / 2, slab, np.float32(0.06), side[paved])
    joints = np.maximum(joints, textures.stripes(z[paved] + slab / 2, slab, np.float32(0.06), along[paved]))
    albedo[paved] *= (1 - 0.25 * joints)[:, None]

    # Paint and curbs; a mark covers x0..x1 and, in each period along the road, `dash` metres.
    in_crossing = np.zeros(len(x), bool)
    for low, high in ground.crossings:
        in_crossing |= (z > low - 0.3) & (z < high + 0.3)
    for x0, x1, period, dash, color in ground.marks:
        near = np.flatnonzero((x > x0 - 0.4) & (x < x1 + 0.4) & ~in_crossing & (z < 90))
        if not len(near):
            continue
        px = side[near]
        cover = np.clip((np.minimum(x[near] - x0, x1 - x[near])) / px + 0.5, 0, 1) * np.minimum((x1 - x0) / px, 1)
        if dash < period:
            cover *= textures.stripes(z[near], np.float32(period), np.float32(dash / period), along[near])
        albedo[near] += (np.asarray(color, np.float32) - albedo[near]) * (0.85 * cover)[:, None]
    for low, high in ground.zebras:
        near = np.flatnonzero((z > low) & (z < high) & (x > ground.road[0]) & (x < ground.road[1]))
        cover = textures.stripes(x[near], np.float32(1.0), np.float32(0.5), side[near])
        albedo[near] += (0.8 - albedo[near]) * (0.8 * cover)[:, None]

    if len(scene.shadows):
        albedo *= _shadows(scene, rays, frame, index, x, z)[:, None]
    return albedo * _lit(scene.light, np.array([[0.0, -1.0, 0.0]])), label


def _shadows(scene: Scene, rays: _Rays, frame: int, index, x, z) -> np.ndarray:
    """Returns the factor of contact shadows on the ground's albedo [N]."""
    factor = np.ones((len(rays.ys), len(rays.xs)), np.float32)
    world_x, world_z = np.zeros_like(factor), np.zeros_like(factor)
    world_x.ravel()[index], world_z.ravel()[index] = x, z
    shadows = scene.shadows
    cx, cz = shadows[:, 0] + frame * shadows[:, 5], shadows[:, 1] + frame * shadows[:, 6]
    reach = np.hypot(shadows[:, 3], shadows[:, 4]) + 0.4
    low = np.stack([cx - reach, np.zeros_like(cx), cz - reach], 1)
    high = np.stack([cx + reach, np.zeros_like(cx), cz + reach], 1)
    for k, (x0, x1, y0, y1, _) in enumerate(rays.bounds(_corners(low, high)).astype(int)):
        if x1 <= x0 or y1 <= y0:
            continue
        c, s = np.float32(np.cos(shadows[k, 2])), np.float32(np.sin(shadows[k, 2]))
        px, pz = world_x[y0:y1, x0:x1] - np.float32(cx[k]), world_z[y0:y1, x0:x1] - np.float32(cz[k])
        across, forward = np.abs(px * c - pz * s), np.abs(px * s + pz * c)
        soft = np.float32(1 / 0.35)
        inside = np.clip((np.float32(shadows[k, 3]) - across) * soft + 0.5, 0, 1)
        inside *= np.clip((np.float32(shadows[k, 4]) - forward) * soft + 0.5, 0, 1)
        factor[y0:y1, x0:x1] *= 1 - np.float32(shadows[k, 7]) * inside
    return factor.ravel()[index]


def _shade_sky(scene: Scene, rays: _Rays, index) -> np.ndarray:
    """Returns colours [N, 3]: a vertical gradient with very faint, very wide clouds at infinity.

    More structure would match between frames like something close to the camera.
    """
    light = scene.light
    x, y, z = rays.directions(index)
    elevation = np.clip(-y / np.sqrt(x * x + y * y + z * z), 0, 1)
    clouds = np.sin(3.1 * x / z + light.cloud_phase[0] + 2 * elevation) * np.sin(7.0 * elevation + light.cloud_phase[1])
    blend = np.clip(np.sqrt(elevation) * 1.2 + light.cloud * clouds, 0, 1)[:, None]
    return light.horizon + (light.zenith - light.horizon) * blend


def render(scene: Scene, frame: int, height: int, width: int) -> dict[str, np.ndarray]:
    """Renders one frame of a scene at any resolution.

    Returns:
      image [H, W, 3] uint8; label [H, W] uint8 train ids; depth [H, W] float32, metres along the optical axis, +inf
      in the sky; intrinsics [3, 3] float32 in pixels; pose [4, 4] float64, camera to world.
    """
    rays = _Rays(scene, frame, height, width)
    inverse, face, distance = _cast(scene, rays, frame)
    shape, inverse, face = face.shape, inverse.ravel(), face.ravel()
    color, label = np.zeros((face.size, 3), np.float32), np.full(face.size, SKY, np.uint8)

    solid, ground, sky = np.flatnonzero(face >= 0), np.flatnonzero(face == _GROUND), np.flatnonzero(face == _NOTHING)
    if len(solid):
        hit = face[solid]
        color[solid] = _shade_solids(scene, rays, frame, solid, hit, inverse[solid], distance)
        label[solid] = scene.solids.label[scene.solids.owner[hit]]
    if len(ground):
        color[ground], label[ground] = _shade_ground(scene, rays, frame, ground, inverse[ground])
    # Haze is the only term that depends on distance, too weak to matter between two frames.
    clear = np.exp(-scene.light.haze / np.maximum(inverse, 1 / _FAR))[:, None]
    color = scene.light.horizon + (color - scene.light.horizon) * clear
    if len(sky):
        color[sky] = _shade_sky(scene, rays, sky)

    color = (color * (255 * scene.light.tint)).reshape(*shape, 3)
    color = 0.25 * color[:, :-2:2] + 0.5 * color[:, 1::2] + 0.25 * color[:, 2::2]
    color = 0.25 * color[:-2:2] + 0.5 * color[1::2] + 0.25 * color[2::2]
    with np.errstate(divide="ignore"):
        depth = 1 / inverse.reshape(shape)[1::2, 1::2]
    return {
        "image": np.clip(color + 0.5, 0, 255).astype(np.uint8),
        "label": np.ascontiguousarray(label.reshape(shape)[1::2, 1::2]),
        "depth": depth,
        "intrinsics": rays.intrinsics.astype(np.float32),
        "pose": rays.pose.copy(),
    }
