"""Class lists and palettes. Label maps hold train ids 0..n-1; 255 is void everywhere in this project."""

import dataclasses

import numpy as np

VOID = 255


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """A segmentation protocol: the classes that are trained and scored, in order of their train id.

    Attributes:
      protocol: name, written to every result file so that scores of different protocols are never compared.
      names: class names, train id 0 first.
      colors: (R, G, B) in 0..255 per class, as the dataset publishes them.
    """

    protocol: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]

    def __post_init__(self):
        if len(self.names) != len(self.colors) or len(set(self.names)) != len(self.names):
            raise ValueError(f"{self.protocol}: class names must be unique, with one colour each")

    def __len__(self) -> int:
        return len(self.names)

    def includes(self, other: "ClassMap") -> bool:
        """Whether it has every class of `other`, by name."""
        return set(other.names) <= set(self.names)

    def train_ids(self, stored: "ClassMap") -> np.ndarray:
        """Returns a table [256] uint8 from train ids of `stored` to those of this protocol; other classes become void.

        Raises:
          ValueError: `stored` lacks a class of this protocol.
        """
        if not stored.includes(self):
            absent = [name for name in self.names if name not in stored.names]
            raise ValueError(f"protocol {self.protocol} has classes that {stored.protocol} labels lack: {absent}")
        table = np.full(256, VOID, np.uint8)
        for i, name in enumerate(stored.names):
            if name in self.names:
                table[i] = self.names.index(name)
        return table

    def without(self, protocol: str, *names: str) -> "ClassMap":
        """Returns a protocol of these classes except `names`."""
        kept = [i for i, name in enumerate(self.names) if name not in names]
        return ClassMap(protocol, tuple(self.names[i] for i in kept), tuple(self.colors[i] for i in kept))

    def to_json(self) -> dict:
        """Returns a plain dict for `from_json`."""
        return {"protocol": self.protocol, "names": list(self.names), "colors": [list(c) for c in self.colors]}

    @classmethod
    def from_json(cls, content: dict) -> "ClassMap":
        """Inverse of `to_json`."""
        return cls(content["protocol"], tuple(content["names"]), tuple(tuple(c) for c in content["colors"]))


CITYSCAPES = ClassMap(
    protocol="cityscapes-19",
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    colors=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip

SYNTHIA_16 = CITYSCAPES.without("synthia-16", "terrain", "truck", "train")
"""The classes that SYNTHIA shares with Cityscapes; colours are Cityscapes'."""

SYNTHIA_13 = SYNTHIA_16.without("synthia-13", "wall", "fence", "pole")

CAMVID = ClassMap(
    protocol="camvid-11",
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian",
        "bicyclist",
    ),
    colors=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip
"""The SegNet split's classes and its tutorial's palette."""

PROTOCOLS = {classes.protocol: classes for classes in (CITYSCAPES, SYNTHIA_16, SYNTHIA_13, CAMVID)}
"""Protocols by name, for `config.data.protocol`."""
