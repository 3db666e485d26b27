"""Class lists and palettes. Label maps hold train ids 0..n-1; 255 is void everywhere in this project."""

import dataclasses

VOID = 255


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """A segmentation protocol: the classes that are trained and scored, in order of their train id.

    Attributes:
      protocol: name that stands in every result file, so that scores of different protocols are never compared.
      names: class names, train id 0 first.
      colors: (R, G, B) in 0..255 per class, as the dataset publishes them.
    """

    protocol: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]

    def __len__(self) -> int:
        return len(self.names)


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
