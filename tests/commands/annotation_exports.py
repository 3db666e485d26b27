"""A scene in every frame of `conftest.FILES`, as annotation tools export it."""

import numpy as np
from PIL import Image

from tests.commands.conftest import FILES

IDS = {"road": 0, "traffic light": 7, "sky": 3, "void": 255}
COLORS = {
    "background": (0, 0, 0),
    "road": (128, 64, 128),
    "traffic light": (250, 170, 30),
    "sky": (9, 9, 9),
    "void": (255, 255, 255),
}
# Class and its box x0, y0, x1, y1, in drawing order.
SCENE = [
    ("sky", (0, 0, 48, 20)),
    ("road", (4, 10, 44, 40)),
    ("traffic light", (8, 2, 14, 25)),
    ("void", (10, 5, 12, 9)),
]


def size_of(name):
    return (64, 48) if name == "junction.jpg" else (48, 64)  # height, width


def box(size, corners):
    mask = np.zeros(size, bool)
    x0, y0, x1, y1 = corners
    mask[y0:y1, x0:x1] = True
    return mask


def drawn(size, background=255, scene=SCENE):
    label = np.full(size, background, np.uint8)
    for name, corners in scene:
        label[box(size, corners)] = IDS[name]
    return label


def outline(corners):
    x0, y0, x1, y1 = corners
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def brush_rle(mask):
    """Label Studio's RLE, as one chunk of unequal values for every 65536 of them."""
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    bits = f"{values.size:032b}{7:05b}" + f"{15:04b}" * 4
    for start in range(0, values.size, 65536):
        chunk = values[start : start + 65536]
        bits += f"0{0:02b}{chunk.size - 1:016b}" + "".join(f"{value:08b}" for value in chunk)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def label_studio_json(names=FILES, prefix="/data/upload/1/0a1b2c3d-"):
    tasks = []
    for number, name in enumerate(names, 11):
        height, width = size_of(name)
        result = []
        for i, (label, corners) in enumerate(SCENE):
            kind = ("brushlabels", "polygonlabels")[i % 2]
            value = {"format": "rle", "rle": brush_rle(box((height, width), corners))}
            if i % 2:
                value = {"closed": True, "points": [[100 * x / width, 100 * y / height] for x, y in outline(corners)]}
            result.append(
                {
                    "id": f"r{i}",
                    "type": kind,
                    "from_name": kind[:5],
                    "to_name": "image",
                    "image_rotation": 0,
                    "original_width": width,
                    "original_height": height,
                    "value": value | {kind: [label]},
                }
            )
        annotation = {"id": 5, "completed_by": 1, "was_cancelled": False, "result": result}
        tasks.append({"id": number, "annotations": [annotation], "data": {"image": prefix + name}})
    return tasks


def coco_json(names=FILES, folder="images/"):
    """Polygons, uncompressed RLE as CVAT writes brush masks, and compressed RLE."""
    categories = [{"id": 1 + i, "name": name} for i, name in enumerate(IDS)]
    images, annotations = [], []
    for i, name in enumerate(names):
        height, width = size_of(name)
        images.append({"id": i, "file_name": folder + name, "width": width, "height": height})
        for place, (label, corners) in enumerate(SCENE):
            x0, y0, x1, y1 = corners
            halves = (x0, y0, x0 + 3, y1), (x0 + 3, y0, x1, y1)
            shape = [[float(v) for point in outline(half) for v in point] for half in halves]
            if place != 1:
                runs = np.flatnonzero(np.diff(box((height, width), corners).T.ravel(), prepend=False, append=True))
                shape = {"size": [height, width], "counts": np.diff(runs, prepend=0).tolist()}
            if place == 2:
                shape["counts"] = compressed(shape["counts"])
            annotation = {"image_id": i, "category_id": 1 + list(IDS).index(label), "segmentation": shape}
            annotations.append({"id": len(annotations), "iscrowd": int(place != 1), **annotation})
    return {"images": images, "annotations": annotations, "categories": categories}


def compressed(counts):
    text = ""
    for i, count in enumerate(counts):
        rest = count - (counts[i - 2] if i > 2 else 0)
        while True:
            group, rest = rest & 31, rest >> 5
            last = rest == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if last else 32))
            if last:
                break
    return text


def write_cvat_masks(folder):
    (folder / "SegmentationClass").mkdir(parents=True)
    (folder / "SegmentationObject").mkdir()
    lines = [f"{name}:{','.join(map(str, color))}::\n" for name, color in COLORS.items()]
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "".join(lines))
    for name in FILES:
        pixels = np.zeros((*size_of(name), 3), np.uint8)
        for label, corners in SCENE:
            pixels[box(pixels.shape[:2], corners)] = COLORS[label]
        Image.fromarray(pixels).save(folder / "SegmentationClass" / f"{name[:-4]}.png")
        Image.fromarray(pixels // 2).save(folder / "SegmentationObject" / f"{name[:-4]}.png")
