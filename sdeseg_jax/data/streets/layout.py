"""The layout of a scene: lots, street furniture and traffic, from the road outwards."""

import dataclasses
import math

import numpy as np

from sdeseg_jax.data.streets import objects
from sdeseg_jax.data.streets.domain_looks import Domain
from sdeseg_jax.data.streets.objects import Maker

_BEHIND = -14.0  # metres; the world begins behind the first camera


@dataclasses.dataclass(frozen=True)
class Ground:
    """The surface of the plane y = 0. Sides are left (0) and right (1); distances in metres.

    Attributes:
      road: x of the left and of the right curb.
      strips: per side (verge begin, verge end, end of the pavement), outwards from the curb; the verge is grass.
      lots: per side (z edges [K], train ids [K + 1]) of the ground beyond the pavement.
      crossings: z intervals that are road across the whole width; zebras: z intervals of zebra crossings.
      marks: (x0, x1, period, dash, colour) along the road; dash = period is unbroken.
      albedo [3, 3], contrast [3]: of road, paving, grass; second_grass [3]; slab: size of paving slabs.
    """

    road: tuple[float, float]
    strips: tuple
    lots: tuple
    crossings: tuple
    zebras: tuple
    marks: tuple
    albedo: np.ndarray
    contrast: np.ndarray
    second_grass: np.ndarray
    slab: float


class Layout:
    """Fills a scene from the road outwards. Vehicles drive on the right; the camera's lane is at x = 0."""

    def __init__(self, make: Maker, domain: Domain, step: float, length: float):
        self.make, self.domain, self.step, self.length = make, domain, step, length
        u = make.uniform
        self.has = {kind: make.chance(p) for kind, p in domain.chance.items()}
        self.urban, self.lane = u(0.1, 0.95), u(3.0, 3.6)  # share of built-up lots, width of a lane
        self.left_lanes, self.right_lanes = int(make.rng.integers(1, 3)), int(make.chance(0.25))
        self.parking = [2.1 if make.chance(0.5) else 0.0 for _ in range(2)]
        self.inner = [self.lane * (0.5 + self.left_lanes), self.lane * (0.5 + self.right_lanes)]
        self.curb = [inner + parking + 0.3 for inner, parking in zip(self.inner, self.parking, strict=True)]
        self.strips, self.facade = [], []
        for _ in range(2):
            verge, pavement = (0.0, 0.0), u(1.8, 4.2)
            if self.has["verge"]:
                verge = (0.2, u(1.2, 2.4))
                pavement += verge[1]
            self.strips.append((*verge, pavement))
            self.facade.append(pavement + (u(0.0, 1.0) if make.chance(0.5) else u(2, 7)))
        self.crossings = []
        if make.chance(0.55):
            z = u(13, 36 if self.has["traffic light"] else 60)
            self.crossings.append((z, z + u(7, 11)))

    def x(self, side: int, outwards: float) -> float:
        """Returns the world x at a distance outwards from the curb of a side."""
        return (1 if side else -1) * (self.curb[side] + outwards)

    def kerbside(self, side: int) -> float:
        """Returns the world x where the outer lane of a side ends: beside parked cars, or at the kerb."""
        return (1 if side else -1) * (self.inner[side] - 0.15)

    def in_crossing(self, z: float, margin=1.0) -> bool:
        return any(low - margin < z < high + margin for low, high in self.crossings)

    def _add_lots(self) -> list:
        """Adds buildings, gardens, parks, walls and fences beyond the pavements; returns the ground's lots."""
        make, u = self.make, self.make.uniform
        wanted = [kind for kind in ("wall", "fence") if self.has[kind]]
        result = []
        # A scene with walls or fences has one of each in view of the first frames.
        promised = {kind: (int(make.rng.integers(2)), u(6, 30)) for kind in wanted}
        for side in range(2):
            z, edges, kinds = _BEHIND, [], []
            while z < self.length:
                street = next((c for c in self.crossings if c[0] - 3 < z < c[1]), None)
                if street:
                    z = street[1] + u(0.5, 2)
                    edges.append(z)
                    kinds.append(1)
                    continue
                end = z + u(9, 24)
                for low, _ in self.crossings:
                    if z < low < end + 4:
                        end = low - 0.5
                kind = "building" if make.chance(self.urban) else "green"
                for name, (where, at) in promised.items():
                    if where == side and z <= at < end:
                        kind = name
                if kind == "green" and wanted and make.chance(0.35):
                    kind = wanted[make.rng.integers(len(wanted))]
                paved = kind == "building" and make.chance(0.55)
                edges.append(end)
                kinds.append(1 if paved else 9)
                self._fill_lot(side, kind, z, end, paved)
                z = end
            result.append((np.asarray(edges), np.asarray([*kinds, 9])))
        return result

    def _fill_lot(self, side, kind, z0, z1, paved):
        make, u = self.make, self.make.uniform
        sign, front = (1 if side else -1), self.strips[side][2]
        if kind == "building":
            height = u(3.5, 8) if make.chance(0.35) else u(7, 20)
            gap = u(0, 3) if make.chance(0.3) else 0.0
            objects.building(make, self.x(side, self.facade[side]), z0, max(z1 - gap, z0 + 5), sign * u(8, 14), height)
            if not paved and self.facade[side] - front > 1.5:
                for _ in range(int(make.rng.integers(0, 3))):
                    objects.bush(make, self.x(side, u(front + 0.8, self.facade[side] - 0.4)), u(z0, z1))
            return
        if kind in ("wall", "fence"):
            (objects.wall if kind == "wall" else objects.fence)(make, self.x(side, front + u(0.2, 0.8)), z0, z1)
            front += 1.5
        elif make.chance(0.3):
            objects.hedge(make, self.x(side, front + 0.8), z0 + u(0, 3), z1 - u(0, 3))
            front += 2
        for _ in range(int(make.rng.integers(2, 5))):
            objects.tree(make, self.x(side, front + u(0.8, 12)), u(z0, z1), u(0.8, 1.5))
        for _ in range(int(make.rng.integers(0, 4))):
            objects.bush(make, self.x(side, front + u(0.5, 9)), u(z0, z1))
        if make.chance(0.4):
            objects.building(make, self.x(side, front + u(14, 22)), z0, z1 - 1, sign * 10, u(4, 14))

    def add_backdrop(self):
        """Closes the view at the end of the street and along crossing streets."""
        make, u = self.make, self.make.uniform
        x = -150.0
        while x < 150:
            width, z = u(9, 24), self.length + u(2, 50)
            if make.chance(0.6):
                objects.building(make, x + width, z, z + 12, -width, u(6, 20))
            else:
                body = make.body("vegetation", x + width / 2, z)
                for _ in range(2):
                    body.ellipsoid((width * 0.4, u(4, 9), 5), (u(-4, 4), u(1, 4), u(0, 5)), make.color("foliage"), 0.36)
            x += width * u(0.75, 1.05)

    def add_furniture(self):
        """Adds poles, lights and signs on the pavement, and street trees on the verge."""
        make, u = self.make, self.make.uniform
        for side in range(2):
            sign, (_, verge, front) = (1 if side else -1), self.strips[side]
            near = 0.5 if not verge else 0.5 * verge
            if make.chance(0.8):
                z, gap = u(2, 12), u(13, 28)
                while z < self.length * 0.7:
                    if not self.in_crossing(z):
                        objects.pole(make, self.x(side, near), z, sign)
                    z += gap * u(0.8, 1.2)
            if make.chance(0.6 if verge else 0.25):
                z = u(0, 10)
                while z < 80:
                    if not self.in_crossing(z, 2):
                        objects.tree(make, self.x(side, near + 0.3), z, u(0.7, 1.0))
                    z += u(6, 14)
            if self.has["traffic sign"]:
                for _ in range(int(make.rng.integers(0 if side == 0 else 1, 4))):
                    facing = 0.0 if make.chance(0.8 if side else 0.45) else math.pi
                    x, z = self.x(side, u(0.3, min(1.2, front))), 5 + 40 * u(0, 1) ** 1.5
                    objects.traffic_sign(make, x, z, facing + make.rng.normal(0, 0.12))
        if self.has["traffic light"]:
            z = self.crossings[0][0] - 1.0 if self.crossings else u(9, 30)
            objects.traffic_light(make, self.x(1, 0.5), z)
            if make.chance(0.6):
                objects.traffic_light(make, self.x(0, 0.5), z)
            if make.chance(0.5):
                far = self.crossings[0][1] + 1.0 if self.crossings else z + 1
                objects.traffic_light(make, self.x(1, 0.6), far, arm=-u(2.5, 4.5))

    def add_traffic(self):
        """Adds parked and moving vehicles, riders and persons; the lane of the camera stays free for it."""
        make, u = self.make, self.make.uniform
        # Parked along the curb.
        for side in range(2):
            if not self.parking[side]:
                continue
            sign = 1 if side else -1
            x, z, full = sign * (self.inner[side] + 1.15), u(3, 12), u(0.3, 0.9)
            while z < 90:
                if make.chance(full) and not self.in_crossing(z, 3):
                    if self.has["truck"] and make.chance(0.15):
                        objects.truck(make, x + sign * 0.1, z + 3, 0.0 if make.chance(0.7) else math.pi)
                        z += 6
                    elif self.has["motorcycle"] and make.chance(0.2):
                        objects.motorcycle(make, x, z, u(0.3, 1.2))
                        z -= 2.5
                    else:
                        objects.car(make, x + make.rng.normal(0, 0.06), z, 0.0 if side or make.chance(0.3) else math.pi)
                z += u(5.3, 7.5)
        # Moving, slot by slot in each lane, so that nothing overlaps. The large vehicles of `has` come first.
        queue = [kind for kind in ("bus", "truck") if self.has[kind]]
        if self.has["train"]:
            speed = 0.0 if make.chance(0.5) else -u(0.3, 0.8)
            objects.train(make, self._tracks(), u(24, 48), math.pi, (0.0, speed))
        tracks_only = self.has["train"] and self.left_lanes == 1  # no lane for oncoming traffic
        if make.chance(self.domain.lead_car):
            kind = queue.pop() if queue and make.chance(0.3) else "car"
            getattr(objects, kind)(make, u(-0.2, 0.2), u(9, 22), 0.0, (0.0, self.step))
        elif make.chance(0.3) or (queue and tracks_only):
            kind = queue.pop() if queue and tracks_only else "car"
            ahead = u(16, 32) if kind != "car" else u(24, 50)
            getattr(objects, kind)(make, u(-0.2, 0.2), ahead, 0.0, (0.0, self.step * u(0.85, 1.2)))
        if self.right_lanes:
            z = u(9, 25)
            while z < 75:
                if make.chance(0.55):
                    kind = queue.pop() if queue and make.chance(0.5) else "car"
                    getattr(objects, kind)(make, self.lane, z, 0.0, (0.0, self.step * u(0.8, 1.05)))
                z += u(14, 28)
        free = [k for k in range(self.left_lanes) if not (self.has["train"] and k == self.left_lanes - 1)]
        for index, k in enumerate(free):
            z, speed = u(10, 24), -self.step * u(0.4, 1.2)
            velocity = (0.0, 0.0 if make.chance(0.35) else speed)
            while z < 85:
                if make.chance(0.45) or (queue and index == len(free) - 1):
                    kind = queue.pop() if queue and make.chance(0.75) else "car"
                    ahead, length = (0, 0) if kind == "car" else (4, 7)
                    getattr(objects, kind)(make, -self.lane * (k + 1), z + ahead, math.pi, velocity)
                    z += length
                z += u(10, 22)
        if queue and not self.parking[1]:  # no lane had room: it stands at the right curb
            getattr(objects, queue.pop())(make, max(self.curb[1] - 0.9, 2.4), u(18, 36), 0.0)
        self._add_people()

    def _tracks(self) -> float:
        """Returns the world x of the tracks: beside the oncoming lanes, or in the outer left lane."""
        return -self.lane * max(1, self.left_lanes) - (0.3 if self.left_lanes > 1 else 0.0)

    def _add_people(self):
        make, u = self.make, self.make.uniform
        if self.has["rider"]:
            for _ in range(int(make.rng.integers(1, 3))):
                on = "motorcycle" if make.chance(0.3) else "bicycle"
                on_right = make.chance(0.6)
                z, speed, yaw = u(7, 20), u(0.12, 0.35), make.rng.normal(0, 0.06)
                if on_right:
                    x = self.inner[1] - 0.45 if not self.right_lanes else self.lane * 0.5
                    objects.rider(make, max(x, 1.35), z, yaw, (0.0, speed), on)
                else:
                    objects.rider(make, -self.lane * 0.5 - 0.1, z + 6, math.pi + yaw, (0.0, -speed), on)
        for kind in ("bicycle", "motorcycle"):
            if not self.has[kind]:
                continue
            side = int(make.rng.integers(2))
            count = int(make.rng.integers(1, 7 if kind == "bicycle" else 4))
            # Several stand in a row, side by side across the pavement; a single one has any direction.
            z, yaw = u(5.5, 20), u(0, 6.28) if count == 1 else make.rng.choice([-1, 1]) * u(0.9, 2.2)
            outwards = u(0.7, max(0.8, self.strips[side][2] - 0.6))
            for k in range(count):
                getattr(objects, kind)(make, self.x(side, outwards), z + 0.8 * k, yaw + make.rng.normal(0, 0.1))
        if self.has["person"]:
            for _ in range(int(make.rng.integers(1, 10))):
                side = int(make.rng.integers(2))
                x, z = self.x(side, u(0.6, self.strips[side][2] - 0.3)), 5 + 40 * u(0, 1) ** 1.7
                speed = 0.0 if make.chance(0.5) else u(0.03, 0.1) * make.rng.choice([-1, 1])
                step, yaw = 0.6 if side else -0.6, 0.0 if speed >= 0 else math.pi
                for k in range(2 if make.chance(0.25) else 1):
                    objects.person(make, x + step * k, z + 0.15 * k, yaw, (0.0, speed))
            if make.chance(0.3):  # somebody crosses the road, beyond the end of the camera's path
                direction = float(make.rng.choice([-1, 1]))
                x, z, speed = u(-self.curb[0], self.curb[1]), u(28, 45), direction * u(0.03, 0.09)
                objects.person(make, x, z, direction * math.pi / 2, (speed, 0.0))

    def make_ground(self) -> Ground:
        """Draws the marks and crossings of the road, and adds the lots beside it."""
        make, u = self.make, self.make.uniform
        white = np.array([0.78, 0.78, 0.76]) * u(0.75, 1.1)
        marks, half = [], u(0.06, 0.09)
        for k in range(1 - self.right_lanes if self.right_lanes == 0 else 0, self.left_lanes + 1):
            edge = -self.lane * (k - 0.5)
            solid = (k == 1 and make.chance(0.3)) or k == self.left_lanes
            marks.append((edge - half, edge + half, 9.0, 9.0 if solid else 4.0, white))
        if make.chance(0.7):
            edge = self.inner[1]
            marks.append((edge - half, edge + half, 9.0, 9.0, white))
        stone = make.color("paving") * 1.1
        marks += [(x - 0.12, x + 0.12, 1.0, 1.0, stone) for x in (-self.curb[0], self.curb[1])]
        rails = [self._tracks() + dx for dx in (-0.72, 0.72)] if self.has["train"] else []
        marks += [(x - 0.05, x + 0.05, 1.0, 1.0, (0.22, 0.2, 0.19)) for x in rails]
        zebras = [(low - 4.0, low - 1.5) for low, _ in self.crossings if make.chance(0.6)]
        if make.chance(0.15):
            z = u(10, 30)
            if not self.in_crossing(z, 6):
                zebras.append((z, z + 3))
        contrast = np.array([0.16, 0.16, 0.26]) * u(*self.domain.texture_contrast)
        return Ground(
            road=(-self.curb[0], self.curb[1]),
            strips=tuple(self.strips),
            lots=tuple(self._add_lots()),
            crossings=tuple(self.crossings),
            zebras=tuple(zebras),
            marks=tuple(marks),
            albedo=np.stack([make.color(k) for k in ("asphalt", "paving", "grass")]).astype(np.float32),
            contrast=contrast.astype(np.float32),
            second_grass=make.color("grass").astype(np.float32),
            slab=u(0.4, 1.0),
        )
