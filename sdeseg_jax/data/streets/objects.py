"""The objects of a street, made of primitives. One function per kind; sizes in metres.

Every function takes a `Maker` (random numbers and palettes of the scene) and a place. Positions are in the world
(x right, z along the road), yaw is about the vertical: 0 looks along the road, away from the camera.
"""

import math

import numpy as np

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.data.streets.domain_looks import Domain
from sdeseg_jax.data.streets.solids import Body, Collection, Grid

ID = {name: index for index, name in enumerate(CITYSCAPES.names)}
_DARK = (0.07, 0.07, 0.08)
_TAIL_LIGHT = (0.62, 0.05, 0.05)
_SCREEN = (0.12, 0.14, 0.17)


class Maker:
    """Draws instances of a domain: holds the scene's solids, random numbers and palettes."""

    def __init__(self, out: Collection, rng: np.random.Generator, domain: Domain):
        self.out, self.rng, self.domain = out, rng, domain
        self.season = rng.uniform(0, 1)  # the part of the foliage and grass palettes that this scene prefers

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def color(self, palette: str) -> np.ndarray:
        """Draws an instance's colour [3]: an entry of the palette, brighter or darker and slightly off in hue."""
        colors = self.domain.palettes[palette]
        if palette in ("foliage", "grass"):
            position = np.clip(self.season + self.rng.normal(0, 0.2), 0, 0.999) * len(colors)
            base = np.array(colors[int(position)])
        else:
            base = np.array(colors[self.rng.integers(len(colors))])
        jitter = self.domain.instance_jitter
        return np.clip(base * np.exp(self.rng.normal(0, jitter) + self.rng.normal(0, jitter / 3, 3)), 0.02, 0.95)

    def body(self, label: str, x: float, z: float, yaw=0.0, velocity=(0.0, 0.0)) -> Body:
        return Body(self.out, ID[label], x, z, yaw, velocity)


def _sides(value) -> dict:
    """Returns `value` for the right and left face of a box."""
    return {0: value, 1: value}


def _add_wheels(body: Body, radius: float, width: float, half_track: float, positions):
    hub = dict.fromkeys((8, 9), (0.32, 0.32, 0.34))
    for z in positions:
        for x in (-half_track, half_track):
            body.prism(radius, width, (x, radius, z), axis="x", sides=8, color=_DARK, contrast=0.1, colors=hub)


def _lights(width: float, height: float, color) -> Grid:
    """Returns a pair of lamps near the outer edges of a vehicle's front or back."""
    return Grid(color, 0.74 * width, 0.22, 0.3, 0.9, low=height, high=height + 0.22)


def car(make: Maker, x, z, yaw=0.0, velocity=(0.0, 0.0)):
    """A saloon, hatchback, estate or van: body, tapered cabin with glass, wheels, lamps."""
    body = make.body("car", x, z, yaw, velocity)
    paint, glass = make.color("paint"), make.color("window") * 0.7
    kind = make.rng.choice(["saloon", "hatch", "estate", "van"], p=[0.35, 0.3, 0.2, 0.15])
    width = make.uniform(1.7, 1.9)
    length = {"saloon": 4.5, "hatch": 3.9, "estate": 4.6, "van": 4.8}[kind] * make.uniform(0.94, 1.06)
    belt = make.uniform(0.85, 0.98) + (0.15 if kind == "van" else 0)  # height of the window sill
    roof = {"saloon": 0.5, "hatch": 0.56, "estate": 0.58, "van": 0.85}[kind] * make.uniform(0.94, 1.08)
    cabin, shift = {"saloon": (0.56, -0.04), "hatch": (0.66, -0.12), "estate": (0.7, -0.13), "van": (0.8, -0.08)}[kind]
    lights = {2: _lights(width, belt - 0.48, (0.9, 0.9, 0.82)), 3: _lights(width, belt - 0.46, _TAIL_LIGHT)}
    body.box((width, belt - 0.22, length), (0, 0.22, 0), paint, 0.06, (0.06, 0.05), grids=lights)
    pillars = _sides(Grid(tuple(paint * 0.8), make.uniform(0.9, 1.15), 5.0, 0.09, 1.0))
    size, at = (width * 0.93, roof, length * cabin), (0, belt, length * shift)
    body.box(size, at, glass, 0.06, (0.16, 0.18 if kind == "van" else 0.36), grids=pillars, colors={4: paint})
    _add_wheels(body, 0.31, 0.22, width / 2 - 0.1, (-0.3 * length, 0.31 * length))
    body.shadow(width, length, 0.55)


def truck(make: Maker, x, z, yaw=0.0, velocity=(0.0, 0.0)):
    """A lorry: cab, higher load (box, tarpaulin or open bed), three axles."""
    body = make.body("truck", x, z, yaw, velocity)
    paint, load = make.color("truck"), make.color("truck")
    width, length = make.uniform(2.2, 2.5), make.uniform(6.0, 9.5)
    cab, top = make.uniform(1.7, 2.2), make.uniform(2.3, 2.9)
    front = length / 2 - cab / 2
    windscreen = Grid(_SCREEN, 2 * width, 0.8, 1.0, 1.0, low=0.75, high=1.6)
    windows = {2: windscreen, **_sides(Grid(_SCREEN, cab, 0.8, 0.6, 1.0, low=0.8, high=1.5))}
    body.box((width * 0.95, top - 0.5, cab), (0, 0.5, front), paint, 0.06, (0.03, 0.08), grids=windows)
    high = make.uniform(2.0, 2.7) if make.chance(0.7) else make.uniform(0.6, 1.0)
    ribs = Grid(tuple(load * 0.8), make.uniform(0.5, 1.2), 5.0, 0.12, 1.0) if make.chance(0.6) else None
    bed = {**_sides(ribs), 3: Grid(tuple(load * 0.6), width / 2, 6.0, 0.06, 1.0)}
    body.box((width, high, length - cab - 0.25), (0, 0.95, -cab / 2 - 0.12), load, 0.1, grids=bed)
    lights = {3: _lights(width * 0.8, 0.15, _TAIL_LIGHT)}
    body.box((width * 0.8, 0.45, length - 0.3), (0, 0.5, 0), (0.13, 0.13, 0.14), 0.1, grids=lights)
    _add_wheels(body, 0.48, 0.3, width / 2 - 0.16, (-0.38 * length, -0.38 * length + 1.05, front))
    body.shadow(width, length, 0.6)


def bus(make: Maker, x, z, yaw=0.0, velocity=(0.0, 0.0)):
    """A city bus: one long box with a band of windows, a glass front with a destination sign, visible wheels."""
    body = make.body("bus", x, z, yaw, velocity)
    paint, glass = make.color("bus"), tuple(make.color("window") * 0.7)
    length, height, width = make.uniform(9.5, 12.5), make.uniform(2.7, 3.1), 2.5
    windows = Grid(glass, make.uniform(1.2, 1.7), 1.25, 0.9, 0.9, low=0.8, high=2.05, jitter=0.3)
    front = Grid(glass, 2 * width, 1.5, 1.0, 0.95, low=0.65, high=2.1)
    rear = Grid(glass, 2 * width, 0.9, 0.8, 1.0, low=1.25, high=2.1)
    grids = {**_sides(windows), 2: front, 3: rear}
    body.box((width, height - 0.35, length), (0, 0.35, 0), paint, 0.07, (0.04, 0.01), grids=grids)
    body.box((1.5, 0.26, 0.1), (0, height - 0.38, length / 2), (0.85, 0.55, 0.1), 0.1)
    for dx in (-1.0, 1.0):
        body.box((0.2, 0.35, 0.06), (dx, 0.8, -length / 2), _TAIL_LIGHT, 0.02)
    _add_wheels(body, 0.48, 0.3, width / 2 - 0.14, (-0.27 * length, 0.3 * length))
    body.shadow(width, length, 0.6)


def train(make: Maker, x, z, yaw=0.0, velocity=(0.0, 0.0)):
    """A tram of two or three coupled cars: skirt to the ground, window band, tapered ends, pantograph."""
    paint, stripe, glass = make.color("train"), make.color("train"), tuple(make.color("window") * 0.6)
    cars, length, width, height = int(make.rng.integers(2, 4)), make.uniform(8, 10.5), 2.5, make.uniform(3.1, 3.4)
    for k in range(cars):
        offset = (k - (cars - 1) / 2) * (length + 0.6)
        body = make.body("train", x + math.sin(yaw) * offset, z + math.cos(yaw) * offset, yaw, velocity)
        windows = Grid(glass, make.uniform(1.6, 2.2), 1.2, 0.86, 0.9, low=0.85, high=1.95)
        ends = Grid(glass, 2 * width, 1.3, 0.84, 1.0, low=0.8, high=1.95)
        grids = {**_sides(windows), 2: ends, 3: ends}
        body.box((width, height - 0.15, length), (0, 0.15, 0), paint, 0.06, (0.08, 0.05), grids=grids)
        body.box((width + 0.04, 0.5, length + 0.04), (0, 0.2, 0), stripe, 0.06)
        body.box((width * 0.6, 0.3, length * 0.5), (0, height - 0.05, 0), (0.35, 0.36, 0.38), 0.1)
        if k:
            body.box((width * 0.85, height - 0.6, 0.7), (0, 0.3, -length / 2 - 0.3), (0.1, 0.1, 0.11), 0.1)
        else:
            body.box((1.4, 0.06, 0.1), (0, height + 0.9, 0), _DARK)
            body.box((0.08, 0.75, 0.08), (0, height + 0.2, 0), _DARK)
        body.shadow(width, length, 0.6)


def _add_motorcycle(make: Maker, body: Body, label=None):
    paint = make.color("motorcycle")
    hub = dict.fromkeys((8, 9), (0.4, 0.4, 0.4))
    for z in (-0.68, 0.7):
        body.prism(0.31, 0.14, (0, 0.31, z), axis="x", sides=8, color=_DARK, label=label, colors=hub)
    body.box((0.32, 0.38, 0.8), (0, 0.3, 0), (0.25, 0.25, 0.26), 0.25, label=label)
    body.ellipsoid((0.2, 0.2, 0.42), (0, 0.78, 0.22), paint, 0.05, label=label)
    body.box((0.3, 0.14, 0.75), (0, 0.74, -0.42), (0.1, 0.09, 0.09), 0.05, label=label)
    body.box((0.7, 0.07, 0.07), (0, 1.0, 0.5), _DARK, label=label)
    body.ellipsoid((0.14, 0.14, 0.1), (0, 0.86, 0.72), (0.8, 0.8, 0.74), 0.02, label=label)
    body.box((0.24, 0.12, 0.06), (0, 0.66, -0.85), (0.6, 0.06, 0.06), 0.02, label=label)


def _add_bicycle(make: Maker, body: Body, label=None):
    paint = make.color("bicycle")
    rim = dict.fromkeys((10, 11), (0.17, 0.17, 0.18))
    for z in (-0.52, 0.52):
        # From the side a wheel is a dark ring around the background between the spokes.
        body.prism(0.34, 0.05, (0, 0.34, z), axis="x", sides=10, color=_DARK, label=label, colors=rim)
        body.prism(0.24, 0.056, (0, 0.34, z), axis="x", sides=8, color=(0.42, 0.42, 0.42), contrast=0.3, label=label)
    body.box((0.06, 0.42, 0.72), (0, 0.42, 0.02), paint, 0.25, taper=(0, 0.2), label=label)
    body.box((0.05, 0.2, 0.05), (0, 0.8, -0.22), _DARK, label=label)
    body.box((0.14, 0.06, 0.26), (0, 0.95, -0.24), _DARK, label=label)
    body.box((0.5, 0.05, 0.05), (0, 1.0, 0.4), (0.3, 0.3, 0.3), label=label)
    body.box((0.05, 0.3, 0.05), (0, 0.72, 0.4), paint, label=label)


def motorcycle(make: Maker, x, z, yaw=0.0, velocity=(0.0, 0.0)):
    body = make.body("motorcycle", x, z, yaw, velocity)
    _add_motorcycle(make, body)
    body.shadow(0.5, 2.0, 0.4)


def bicycle(make: Maker, x, z, yaw=0.0, velocity=(0.0, 0.0)):
    body = make.body("bicycle", x, z, yaw, velocity)
    _add_bicycle(make, body)
    body.shadow(0.3, 1.5, 0.3)


def rider(make: Maker, x, z, yaw=0.0, velocity=(0.0, 0.0), on="bicycle"):
    """A person on a bicycle or motorcycle, knees forward, leaning to the handlebar."""
    body = make.body("rider", x, z, yaw, velocity)
    (_add_bicycle if on == "bicycle" else _add_motorcycle)(make, body, ID[on])
    seat = 0.92 if on == "bicycle" else 0.82
    shirt, trousers = make.color("vest"), make.color("cloth") * 0.8
    for dx in (-0.14, 0.14):
        body.box((0.15, 0.16, 0.5), (dx, seat - 0.06, 0.0), trousers, 0.1)
        body.box((0.13, 0.55, 0.14), (dx, seat - 0.55, 0.2), trousers, 0.1)
        body.box((0.1, 0.12, 0.5), (1.7 * dx, seat + 0.3, 0.22), shirt, 0.1)
    body.box((0.44, 0.58, 0.28), (0, seat, -0.14), shirt, 0.12, taper=(-0.12, 0.1))
    body.ellipsoid((0.13, 0.16, 0.14), (0, seat + 0.74, 0.0), make.color("skin"), 0.03)
    if on == "motorcycle" or make.chance(0.5):
        body.ellipsoid((0.16, 0.14, 0.17), (0, seat + 0.81, -0.02), make.color("vest"), 0.02)
    body.shadow(0.5, 1.8, 0.4)


def person(make: Maker, x, z, yaw=0.0, velocity=(0.0, 0.0)):
    """Legs apart as in a step, torso, arms, head, hair; sometimes a coat, sometimes a bag."""
    body = make.body("person", x, z, yaw, velocity)
    scale = make.uniform(0.88, 1.08) if make.chance(0.9) else make.uniform(0.6, 0.75)
    shirt, trousers, skin = make.color("cloth"), make.color("cloth") * 0.8, make.color("skin")
    stride, hem = make.uniform(0.0, 0.2), make.uniform(0.45, 0.8) * scale
    for sign in (-1, 1):
        body.box((0.15 * scale, 0.86 * scale, 0.17 * scale), (sign * 0.1 * scale, 0, sign * stride), trousers, 0.1)
        arm = (sign * 0.27 * scale, 0.8 * scale, -sign * stride / 2)
        body.box((0.1 * scale, 0.6 * scale, 0.12 * scale), arm, shirt * 0.92, 0.1)
    body.box((0.42 * scale, 1.46 * scale - hem, 0.25 * scale), (0, hem, 0), shirt, 0.14, taper=(-0.08, 0.05))
    body.ellipsoid((0.11 * scale, 0.14 * scale, 0.12 * scale), (0, 1.6 * scale, 0), skin, 0.03)
    hair = make.rng.choice([0.08, 0.25, 0.5]) * np.array([1.0, 0.8, 0.6])
    body.ellipsoid((0.12 * scale, 0.1 * scale, 0.13 * scale), (0, 1.67 * scale, -0.03), hair, 0.05)
    if make.chance(0.3):
        body.box((0.3 * scale, 0.42 * scale, 0.16 * scale), (0, 0.95 * scale, -0.2 * scale), make.color("cloth"), 0.1)
    body.shadow(0.5, 0.6, 0.4)


def tree(make: Maker, x, z, scale=1.0):
    """A deciduous (a cluster of ellipsoids) or coniferous tree (stacked truncated pyramids) with its trunk."""
    body = make.body("vegetation", x, z, make.uniform(0, 6.3))
    leaves, bark = make.color("foliage"), make.color("bark")
    if make.chance(0.78):
        trunk, radius = make.uniform(1.8, 3.2) * scale, make.uniform(1.2, 2.4) * scale
        body.prism(make.uniform(0.12, 0.24), trunk + radius * 0.6, (0, 0, 0), color=bark, contrast=0.3, taper=0.3)
        for _ in range(int(make.rng.integers(3, 6))):
            reach = make.rng.normal(0, 0.38, 3) * radius
            size = radius * make.rng.uniform(0.5, 0.95, 3) * [1, 0.85, 1]
            at = (reach[0], trunk + 0.75 * radius + reach[1], reach[2])
            body.ellipsoid(size, at, leaves * make.uniform(0.8, 1.2), 0.36)
    else:
        height, radius = make.uniform(5, 10) * scale, make.uniform(1.1, 1.9) * scale
        body.prism(0.15, 1.0, color=bark, contrast=0.3)
        for k in range(3):
            at, color = (0, 0.8 + 0.27 * height * k, 0), leaves * (0.8 + 0.1 * k)
            cone = dict(sides=7, taper=0.95, turn=k * 0.3, color=color, contrast=0.36)
            body.prism(radius * (1 - 0.25 * k), height * 0.45, at, **cone)
    body.shadow(1.6 * scale, 1.6 * scale, 0.3)


def bush(make: Maker, x, z):
    body, leaves = make.body("vegetation", x, z, make.uniform(0, 6.3)), make.color("foliage")
    for _ in range(int(make.rng.integers(1, 4))):
        size = make.uniform(0.5, 1.0) * make.rng.uniform(0.7, 1.3, 3)
        at = (make.rng.normal(0, 0.5), size[1] * 0.6, make.rng.normal(0, 0.7))
        body.ellipsoid(size, at, leaves * make.uniform(0.85, 1.15), 0.36)


def hedge(make: Maker, x, z0, z1):
    body = make.body("vegetation", x, (z0 + z1) / 2)
    body.box((make.uniform(0.6, 1.2), make.uniform(0.8, 2.2), z1 - z0), color=make.color("foliage"), contrast=0.34)


def building(make: Maker, x, z0, z1, depth, height):
    """A house from z0 to z1 whose facade stands at x; `depth` is signed (away from the road)."""
    body = make.body("building", x + depth / 2, (z0 + z1) / 2)
    paint, glass, length, thick = make.color("facade"), tuple(make.color("window")), z1 - z0, abs(depth)
    storey, cell = make.uniform(2.8, 3.6), make.uniform(1.6, 3.4)
    fill = (make.uniform(0.35, 0.75), make.uniform(0.4, 0.65))
    ground_floor = make.uniform(3.2, 4.2) if make.chance(0.5) else 0.0
    storeys = max(1, int((height - ground_floor) / storey))
    height = ground_floor + storeys * storey + 0.5
    shape = Grid(glass, cell, storey, *fill, low=ground_floor, high=height - 0.4, jitter=0.45)
    body.box((thick, height, length), color=paint, contrast=0.17, grids=dict.fromkeys(range(4), shape))
    if ground_floor:
        shop = Grid(tuple(make.color("window")), make.uniform(2.5, 5), ground_floor, 0.72, 0.68, jitter=0.6)
        color = paint * make.uniform(0.6, 1.1) if make.chance(0.6) else make.color("shop")
        body.box((thick + 0.2, ground_floor - 0.1, length), color=color, contrast=0.15, grids=_sides(shop))
    if make.chance(0.5) and height < 14:  # a hipped roof, its ridge along the road
        tiles, size = make.color("roof"), (thick + 0.5, make.uniform(1.8, 3.2), length + 0.2)
        rows = _sides(Grid(tuple(tiles * 0.85), 9.0, 0.5, 1.0, 0.3))
        body.box(size, (0, height, 0), tiles, 0.2, (0.9, 0.25), grids=rows)
    else:
        body.box((thick + 0.3, 0.4, length + 0.1), (0, height, 0), paint * 0.8, 0.1)


def wall(make: Maker, x, z0, z1):
    body = make.body("wall", x, (z0 + z1) / 2)
    stone, height, width = make.color("stone"), make.uniform(1.2, 3.2), make.uniform(0.3, 1.2)
    color, row = tuple(stone * make.uniform(1.05, 1.3)), make.uniform(0.2, 0.5)
    blocks = Grid(color, width, row, 0.9, 0.86, stagger=0.5, jitter=0.15)
    if make.chance(0.3):
        blocks = None  # plain concrete
    body.box((0.35, height, z1 - z0), color=stone, contrast=0.2, grids=dict.fromkeys(range(4), blocks))
    body.box((0.5, 0.12, z1 - z0 + 0.1), (0, height, 0), stone * 0.85, 0.12)


def fence(make: Maker, x, z0, z1):
    """Slats or bars on posts; the background between them is painted on."""
    body = make.body("fence", x, (z0 + z1) / 2)
    color, length, height = make.color("slats"), z1 - z0, make.uniform(0.9, 1.9)
    if make.chance(0.25):  # a guard rail: thin, with real gaps above and below
        groove = Grid(tuple(color * 0.7), 8.0, 0.32, 1.0, 0.25)
        body.box((0.1, 0.32, length), (0, 0.48, 0), color, 0.1, grids=_sides(groove))
    else:
        gap = make.color("foliage") * 0.7 if make.chance(0.5) else color * 0.45
        slats = Grid(tuple(color), make.uniform(0.16, 0.4), height, make.uniform(0.45, 0.8), 0.96)
        body.box((0.06, height, length), (0, 0.04, 0), gap, 0.15, grids=_sides(slats))
        body.box((0.1, 0.1, length), (0, height * 0.8, 0), color * 0.9, 0.1)
    for k in range(int(length / 2.5) + 1):
        body.box((0.13, height + 0.08 if height > 1 else 0.85, 0.13), (0, 0, k * 2.5 - length / 2 + 0.1), color * 0.85)


def pole(make: Maker, x, z, side=0):
    """A street lamp with an arm over the road (side -1: the road is to the right), a mast or bollards."""
    body = make.body("pole", x, z)
    metal, kind = make.color("metal"), make.rng.random()
    if kind < 0.55:
        height, radius = make.uniform(5, 8), make.uniform(0.07, 0.11)
        body.prism(radius, height, color=metal, taper=0.2)
        body.box((1.5, 0.08, 0.1), (-side * 0.7, height - 0.1, 0), metal)
        body.box((0.6, 0.12, 0.25), (-side * 1.6, height - 0.15, 0), metal * 0.8)
    elif kind < 0.8:
        body.prism(make.uniform(0.09, 0.16), make.uniform(6, 9), color=metal, contrast=0.2)
    else:
        for k in range(int(make.rng.integers(2, 6))):
            body.prism(0.08, 0.95, (0, 0, 1.6 * k), color=metal, contrast=0.05)


def traffic_light(make: Maker, x, z, yaw=0.0, arm=0.0):
    """A mast with a head of three lamps facing -z in its own frame; `arm` holds the head over the road."""
    body = make.body("pole", x, z, yaw)
    metal, label = make.color("metal"), ID["traffic light"]
    height = make.uniform(5.0, 5.6) if arm else make.uniform(2.3, 3.0)
    body.prism(0.08, height + (0.9 if not arm else 0.6), color=metal)
    if arm:
        body.box((abs(arm), 0.1, 0.1), (arm / 2, height + 0.4, 0), metal)
    lit, scale = int(make.rng.integers(3)), make.uniform(1.0, 1.3)
    head = dict(color=(0.06, 0.07, 0.07), contrast=0.05, colors=dict.fromkeys((0, 1, 3), make.color("signal")))
    body.box((0.38 * scale, 1.0 * scale, 0.3), (arm, height - 0.1, -0.22), **head, label=label)
    for k, bright in enumerate([(0.2, 0.95, 0.55), (0.98, 0.75, 0.15), (0.98, 0.15, 0.1)]):
        color = np.array(bright) * (1.0 if k == lit else 0.22)
        at = (arm, height - 0.1 + scale * (0.2 + 0.3 * k), -0.39)
        body.prism(0.13 * scale, 0.1, at, axis="z", color=color, contrast=0.0, label=label)


def traffic_sign(make: Maker, x, z, yaw=0.0):
    """A plate on a post: disc, triangle, octagon or rectangle, with a border or a symbol; its back is grey."""
    body = make.body("pole", x, z, yaw)
    label, grey = ID["traffic sign"], np.array([0.45, 0.46, 0.47])
    metal, bottom, kind = make.color("metal"), make.uniform(2.0, 2.6), make.rng.random()
    face, inner = make.color("sign"), make.color("sign")
    if kind < 0.7:
        sides = int(make.rng.choice([3, 8, 8, 10]))
        radius = make.uniform(0.3, 0.42) * (0.75 if sides == 3 else 1)
        turn = 0.0 if sides == 3 and make.chance(0.7) else 0.5
        center = bottom + 0.45
        body.prism(0.045, center + 0.2, color=metal)
        plate = dict(axis="z", sides=sides, turn=turn, contrast=0.03, label=label)
        body.prism(radius, 0.04, (0, center, -0.08), color=grey, colors={sides: face}, **plate)
        body.prism(radius * make.uniform(0.45, 0.75), 0.03, (0, center, -0.1), color=inner, **plate)
    else:
        width, height = make.uniform(0.6, 1.6), make.uniform(0.5, 1.0)
        text = Grid(tuple(inner), width / 2, height / 3, 0.75, 0.35)
        for dx in (0.0,) if width < 1 else (-width * 0.35, width * 0.35):
            body.prism(0.05, bottom + height, (dx, 0, 0), color=metal)
        body.box((width, height, 0.05), (0, bottom, -0.1), grey, 0.03, label=label, colors={3: face}, grids={3: text})
