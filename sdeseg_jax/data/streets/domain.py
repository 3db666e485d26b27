"""What a family of Streets scenes looks like: class frequencies, palettes, textures, light and camera ranges.

A domain is data, not code: another look (say, a synthetic source with other cameras and colours) is another instance.
"""

import dataclasses

Color = tuple[float, float, float]
Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Domain:
    """Ranges from which every scene is drawn. Lengths in metres, angles in radians, colours are albedos in [0, 1].

    Attributes:
      name: stands in the seed of every scene, so that two domains never share a world.
      field_of_view: horizontal, of the whole image.
      camera_height: over the road, constant within a scene but for a gentle sway.
      camera_pitch: constant tilt of the scene's camera (positive looks down).
      step: forward motion per frame.
      yaw_step, pitch_jitter, height_jitter: standard deviations per frame.
      sun, ambient: strength of direct and of diffuse light.
      haze: extinction per metre.
      texture_contrast: factor on the contrast of every texture.
      instance_jitter: how far (standard deviation per channel, relative) an instance strays from its palette.
      lead_car: share of clips with a car that drives ahead at the camera's speed.
      chance: share of scenes in which a kind of object may occur at all; the long tail.
      palettes: albedos from which an instance takes its colour. Classes share many of them on purpose: colour alone
        must not give a class away.
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
    texture_contrast=(1.2, 2.0),
    instance_jitter=0.13,
    lead_car=0.15,
    chance={
        "wall": 0.28, "fence": 0.4, "traffic light": 0.45, "traffic sign": 0.75, "person": 0.75, "rider": 0.3,
        "truck": 0.22, "bus": 0.2, "train": 0.16, "motorcycle": 0.2, "bicycle": 0.4, "verge": 0.35,
    },
    palettes={
        "asphalt": ((0.30, 0.30, 0.31), (0.38, 0.37, 0.36), (0.24, 0.24, 0.26), (0.45, 0.44, 0.42), (0.34, 0.31, 0.30)),
        "paving": ((0.50, 0.48, 0.46), (0.42, 0.41, 0.41), (0.56, 0.48, 0.42), (0.50, 0.36, 0.31), (0.60, 0.57, 0.52)),
        "grass": ((0.26, 0.38, 0.16), (0.36, 0.42, 0.20), (0.48, 0.43, 0.27), (0.21, 0.31, 0.15), (0.44, 0.37, 0.27)),
        "foliage": ((0.18, 0.32, 0.13), (0.26, 0.38, 0.16), (0.13, 0.24, 0.12), (0.38, 0.38, 0.15), (0.45, 0.29, 0.13)),
        "bark": ((0.28, 0.21, 0.16), (0.36, 0.32, 0.28), (0.20, 0.17, 0.15)),
        "facade": (
            (0.72, 0.66, 0.54), (0.58, 0.34, 0.27), (0.52, 0.51, 0.50), (0.80, 0.77, 0.72), (0.70, 0.58, 0.36),
            (0.46, 0.36, 0.30), (0.56, 0.60, 0.62), (0.66, 0.50, 0.44), (0.36, 0.38, 0.41), (0.53, 0.58, 0.46),
        ),
        "roof": ((0.48, 0.24, 0.18), (0.27, 0.27, 0.30), (0.36, 0.30, 0.27), (0.40, 0.40, 0.41)),
        "window": ((0.14, 0.17, 0.21), (0.24, 0.28, 0.33), (0.10, 0.10, 0.12), (0.45, 0.52, 0.58)),
        "stone": ((0.52, 0.50, 0.47), (0.55, 0.34, 0.27), (0.42, 0.42, 0.43), (0.66, 0.62, 0.55), (0.42, 0.38, 0.30)),
        "slats": ((0.40, 0.30, 0.21), (0.60, 0.60, 0.60), (0.20, 0.28, 0.21), (0.80, 0.78, 0.74), (0.20, 0.20, 0.22)),
        "metal": ((0.48, 0.49, 0.50), (0.30, 0.31, 0.32), (0.63, 0.63, 0.62), (0.20, 0.26, 0.23), (0.36, 0.28, 0.24)),
        "paint": (
            (0.82, 0.82, 0.81), (0.09, 0.09, 0.10), (0.55, 0.56, 0.58), (0.34, 0.35, 0.37), (0.60, 0.10, 0.10),
            (0.12, 0.22, 0.48), (0.20, 0.34, 0.24), (0.66, 0.55, 0.22), (0.44, 0.32, 0.23), (0.46, 0.60, 0.70),
        ),
        "livery": (
            (0.82, 0.80, 0.76), (0.72, 0.16, 0.13), (0.84, 0.66, 0.18), (0.18, 0.34, 0.58), (0.26, 0.46, 0.33),
            (0.52, 0.53, 0.55), (0.62, 0.36, 0.20), (0.38, 0.30, 0.42),
        ),
        "cloth": (
            (0.12, 0.13, 0.18), (0.52, 0.14, 0.15), (0.22, 0.30, 0.50), (0.74, 0.72, 0.68), (0.30, 0.29, 0.27),
            (0.34, 0.40, 0.28), (0.72, 0.58, 0.24), (0.46, 0.30, 0.40), (0.55, 0.44, 0.34),
        ),
        "skin": ((0.80, 0.60, 0.48), (0.60, 0.42, 0.32), (0.36, 0.24, 0.18)),
        "sign": ((0.75, 0.12, 0.12), (0.12, 0.28, 0.62), (0.85, 0.70, 0.14), (0.82, 0.82, 0.80), (0.14, 0.42, 0.28)),
        "sky": ((0.48, 0.64, 0.86), (0.70, 0.74, 0.80), (0.60, 0.70, 0.84), (0.80, 0.80, 0.80)),
        "horizon": ((0.82, 0.87, 0.93), (0.85, 0.85, 0.86), (0.93, 0.87, 0.78)),
        "light": ((1.0, 0.97, 0.92), (1.0, 0.90, 0.76), (0.93, 0.97, 1.04), (1.0, 1.0, 1.0)),
    },
)  # fmt: skip
