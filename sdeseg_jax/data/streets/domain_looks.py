"""Looks of Streets scenes: class frequencies, palettes, textures, light and camera ranges of a domain."""

import dataclasses

Color = tuple[float, float, float]
Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Viewpoint:
    """A way to carry the camera other than in the middle of the lane, looking ahead.

    Attributes:
      share: of the scenes.
      height: over the road, metres.
      turn: constant angle between looking and moving, radians, to a random side.
      pace: factor on the domain's step.
      at_kerb: whether the camera moves along the kerb, on a random side, instead of in its lane.
    """

    share: float
    height: Range
    turn: Range = (0.0, 0.0)
    pace: float = 1.0
    at_kerb: bool = False


@dataclasses.dataclass(frozen=True)
class Domain:
    """Ranges from which every scene is drawn. Lengths in metres, angles in radians, colours are albedos in [0, 1].

    Attributes:
      name: part of every scene's seed, so that domains never share a world.
      field_of_view: horizontal, of the whole image.
      camera_height: over the road, constant within a scene except for a gentle sway.
      camera_pitch: constant tilt of the scene's camera (positive looks down).
      step: forward motion per frame.
      yaw_step, pitch_jitter, height_jitter: standard deviations per frame.
      sun, ambient: strength of direct and of diffuse light.
      haze: extinction per metre.
      texture_contrast: factor on the contrast of every texture.
      instance_jitter: relative standard deviation per channel of an instance's colour from its palette.
      lead_car: share of clips with a car that drives ahead at the camera's speed.
      chance: share of scenes in which a kind of object may occur at all; makes the long tail.
      viewpoints: other ways to carry the camera; the remaining scenes are seen from the lane at `camera_height`.
      palettes: albedos of instances. Most kinds have their own palette, more distinct than on real streets, so that
        small images and short trainings can tell 19 classes apart.
    """

    name: str
    field_of_view: Range
    camera_height: Range
    camera_pitch: Range
    step: Range
    yaw_step: float
    pitch_jitter: float
    height_jitter: float
    sun: Range
    ambient: Range
    haze: Range
    texture_contrast: Range
    instance_jitter: float
    lead_car: float
    chance: dict[str, float]
    palettes: dict[str, tuple[Color, ...]]
    viewpoints: tuple[Viewpoint, ...] = ()


TARGET = Domain(
    name="target",
    field_of_view=(1.18, 1.18),
    camera_height=(1.45, 1.55),
    camera_pitch=(0.005, 0.025),
    step=(0.8, 1.1),
    yaw_step=0.001,
    pitch_jitter=0.0004,
    height_jitter=0.002,
    sun=(0.1, 0.65),
    ambient=(0.5, 0.75),
    haze=(0.0002, 0.003),
    texture_contrast=(0.8, 1.3),
    instance_jitter=0.08,
    lead_car=0.15,
    chance={
        "wall": 0.28, "fence": 0.4, "traffic light": 0.45, "traffic sign": 0.75, "person": 0.75, "rider": 0.3,
        "truck": 0.22, "bus": 0.2, "train": 0.16, "motorcycle": 0.2, "bicycle": 0.4, "verge": 0.35,
    },
    palettes={
        "asphalt": ((0.30, 0.30, 0.32), (0.36, 0.36, 0.38), (0.26, 0.26, 0.29), (0.33, 0.32, 0.31)),
        "paving": ((0.62, 0.54, 0.50), (0.66, 0.56, 0.50), (0.58, 0.48, 0.46), (0.60, 0.55, 0.53)),
        "grass": ((0.40, 0.50, 0.18), (0.48, 0.52, 0.22), (0.44, 0.56, 0.24), (0.50, 0.50, 0.26)),
        "foliage": ((0.14, 0.28, 0.10), (0.18, 0.32, 0.12), (0.12, 0.24, 0.12), (0.22, 0.28, 0.10)),
        "bark": ((0.28, 0.21, 0.16), (0.24, 0.20, 0.17), (0.20, 0.17, 0.15)),
        "facade": (
            (0.72, 0.62, 0.46), (0.60, 0.34, 0.26), (0.80, 0.72, 0.60), (0.70, 0.54, 0.34), (0.56, 0.38, 0.30),
            (0.66, 0.50, 0.42), (0.70, 0.66, 0.58),
        ),
        "roof": ((0.48, 0.24, 0.18), (0.42, 0.27, 0.22), (0.36, 0.30, 0.27)),
        "shop": ((0.62, 0.30, 0.22), (0.72, 0.58, 0.30), (0.50, 0.40, 0.34)),
        "window": ((0.14, 0.17, 0.21), (0.24, 0.28, 0.33), (0.10, 0.10, 0.12), (0.45, 0.52, 0.58)),
        "stone": ((0.50, 0.46, 0.56), (0.42, 0.40, 0.50), (0.58, 0.54, 0.62)),
        "slats": ((0.80, 0.78, 0.74), (0.66, 0.66, 0.66), (0.74, 0.76, 0.78)),
        "metal": ((0.30, 0.31, 0.34), (0.24, 0.25, 0.28), (0.27, 0.30, 0.30)),
        "paint": (
            (0.82, 0.82, 0.81), (0.09, 0.09, 0.10), (0.55, 0.56, 0.58), (0.60, 0.10, 0.10), (0.12, 0.22, 0.48),
            (0.34, 0.35, 0.37),
        ),
        "truck": ((0.86, 0.46, 0.12), (0.80, 0.38, 0.14), (0.88, 0.54, 0.20)),
        "bus": ((0.88, 0.76, 0.16), (0.84, 0.68, 0.12), (0.90, 0.80, 0.30)),
        "train": ((0.16, 0.52, 0.46), (0.12, 0.44, 0.42), (0.22, 0.58, 0.50)),
        "motorcycle": ((0.66, 0.12, 0.36), (0.56, 0.10, 0.34)),
        "bicycle": ((0.20, 0.60, 0.86), (0.16, 0.48, 0.80)),
        "cloth": (
            (0.22, 0.22, 0.54), (0.52, 0.14, 0.20), (0.30, 0.18, 0.44), (0.16, 0.16, 0.34), (0.60, 0.20, 0.30),
        ),
        "vest": ((0.70, 0.90, 0.16), (0.90, 0.50, 0.60), (0.80, 0.92, 0.30)),
        "skin": ((0.80, 0.60, 0.48), (0.60, 0.42, 0.32), (0.36, 0.24, 0.18)),
        "sign": ((0.78, 0.08, 0.10), (0.10, 0.24, 0.72), (0.82, 0.82, 0.80)),
        "signal": ((0.90, 0.70, 0.08), (0.06, 0.07, 0.07)),
        "sky": ((0.48, 0.64, 0.86), (0.70, 0.74, 0.80), (0.60, 0.70, 0.84), (0.80, 0.80, 0.80)),
        "horizon": ((0.82, 0.87, 0.93), (0.85, 0.85, 0.86), (0.93, 0.87, 0.78)),
        "light": ((1.0, 0.97, 0.92), (1.0, 0.90, 0.76), (0.93, 0.97, 1.04), (1.0, 1.0, 1.0)),
    },
)  # fmt: skip
