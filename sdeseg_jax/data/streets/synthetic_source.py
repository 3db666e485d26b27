"""The synthetic source of the domain-adaptation pair: Streets as a game would show it, seen by other cameras.

It differs from the target domain in two ways, as GTA5 does from Cityscapes. Appearance: its own palettes, which overlap
with the target's for some kinds and mislead for others; harder light, stronger textures, more haze, other class
frequencies. Geometry: a wider field of view, and cameras that a pedestrian carries along the kerb, that look to the
side, or that sit high in a lorry; only some scenes are seen from the target's viewpoint.
"""

import dataclasses

from sdeseg_jax.data.streets.domain_looks import TARGET, Viewpoint

SOURCE = dataclasses.replace(
    TARGET,
    name="source",
    field_of_view=(1.36, 1.42),
    camera_height=(1.2, 1.6),
    camera_pitch=(-0.01, 0.04),
    sun=(0.5, 1.1),
    ambient=(0.35, 0.55),
    haze=(0.0015, 0.006),
    texture_contrast=(1.2, 1.9),
    instance_jitter=0.14,
    viewpoints=(
        Viewpoint(share=0.25, height=(1.6, 1.85), turn=(0.0, 0.2), pace=0.35, at_kerb=True),
        Viewpoint(share=0.25, height=(1.3, 1.7), turn=(0.45, 0.8), pace=0.35),
        Viewpoint(share=0.1, height=(2.3, 2.9)),
    ),
    chance={
        "wall": 0.35, "fence": 0.35, "traffic light": 0.6, "traffic sign": 0.6, "person": 0.85, "rider": 0.35,
        "truck": 0.4, "bus": 0.3, "train": 0.2, "motorcycle": 0.35, "bicycle": 0.3, "verge": 0.3,
    },
    palettes={
        **TARGET.palettes,
        "asphalt": ((0.24, 0.24, 0.23), (0.40, 0.39, 0.37), (0.20, 0.20, 0.21), (0.34, 0.32, 0.29)),
        "paving": ((0.50, 0.49, 0.48), (0.60, 0.57, 0.52), (0.44, 0.43, 0.44), (0.66, 0.60, 0.54)),
        "grass": ((0.46, 0.46, 0.18), (0.36, 0.46, 0.14), (0.54, 0.52, 0.28)),
        "foliage": ((0.20, 0.30, 0.08), (0.26, 0.30, 0.12), (0.12, 0.22, 0.08), (0.16, 0.34, 0.14)),
        "facade": (
            (0.74, 0.70, 0.64), (0.54, 0.52, 0.50), (0.62, 0.44, 0.34), (0.46, 0.48, 0.54), (0.78, 0.66, 0.48),
            (0.38, 0.30, 0.26),
        ),
        "roof": ((0.30, 0.27, 0.26), (0.44, 0.30, 0.24)),
        "shop": ((0.22, 0.40, 0.48), (0.64, 0.28, 0.22), (0.70, 0.62, 0.36)),
        "window": ((0.16, 0.20, 0.26), (0.34, 0.42, 0.50), (0.08, 0.08, 0.09)),
        "stone": ((0.52, 0.47, 0.50), (0.44, 0.40, 0.40), (0.58, 0.54, 0.52)),
        "slats": ((0.62, 0.52, 0.42), (0.74, 0.72, 0.68), (0.56, 0.56, 0.58)),
        "metal": ((0.36, 0.37, 0.38), (0.22, 0.24, 0.24), (0.30, 0.34, 0.28)),
        "paint": (
            (0.80, 0.78, 0.72), (0.08, 0.08, 0.08), (0.62, 0.14, 0.08), (0.14, 0.30, 0.46), (0.66, 0.56, 0.16),
            (0.20, 0.34, 0.22), (0.46, 0.46, 0.46),
        ),
        "truck": ((0.80, 0.42, 0.18), (0.72, 0.66, 0.56), (0.60, 0.26, 0.14)),
        "bus": ((0.82, 0.70, 0.22), (0.74, 0.56, 0.18), (0.30, 0.52, 0.60)),
        "train": ((0.24, 0.50, 0.42), (0.50, 0.52, 0.52), (0.14, 0.40, 0.46)),
        "motorcycle": ((0.58, 0.16, 0.28), (0.12, 0.12, 0.14)),
        "bicycle": ((0.26, 0.54, 0.74), (0.40, 0.40, 0.44)),
        "cloth": (
            (0.26, 0.24, 0.46), (0.48, 0.18, 0.18), (0.20, 0.20, 0.24), (0.56, 0.50, 0.42), (0.22, 0.36, 0.30),
        ),
        "vest": ((0.72, 0.82, 0.22), (0.84, 0.46, 0.30)),
        "sign": ((0.70, 0.12, 0.10), (0.12, 0.40, 0.24), (0.80, 0.80, 0.76)),
        "signal": ((0.80, 0.62, 0.12), (0.14, 0.15, 0.14)),
        "sky": ((0.34, 0.56, 0.88), (0.58, 0.66, 0.80), (0.44, 0.60, 0.86)),
        "horizon": ((0.90, 0.84, 0.74), (0.84, 0.86, 0.90), (0.92, 0.78, 0.64)),
        "light": ((1.0, 0.90, 0.74), (1.0, 0.94, 0.84), (1.0, 0.84, 0.66)),
    },
)  # fmt: skip
