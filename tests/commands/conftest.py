"""A user's folder with every kind of frame, and the files of a selection from it."""

import json

import av
import numpy as np
import pytest
from PIL import Image

CLASSES = {
    "classes": [
        {"name": "road", "color": [128, 64, 128]},
        {"name": "traffic light", "id": 7, "color": [250, 170, 30]},
        {"name": "sky", "id": 3},
    ],
    "void_color": [0, 0, 0],
}
FILES = {
    "drive_000005.jpg": ("clips/drive.mp4, frame 5", "labels/drive_000005.png"),
    "park_2.png": ("clips/park/2.png", "labels/park/2.png"),
    "junction.jpg": ("images/junction.JPG", "labels/junction.png"),
    "empty_streets_0.png": ("clips/empty streets/0.png", "labels/empty streets/0.png"),
}
"""Image in a package -> (its source, path of its label), in the order of selection."""


@pytest.fixture
def own_data(tmp_path):
    """Folder `my_data` of 64x48 images, with `selection/4` next to it: a video, two clips with equal image names, and a
    photo with a rotation tag."""
    root, random = tmp_path / "my_data", np.random.default_rng(0)
    for clip in ("park", "empty streets"):
        (root / "clips" / clip).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(random.integers(0, 255, (48, 64, 3), np.uint8)).save(root / f"clips/{clip}/{i}.png")
    (root / "images").mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # shown as 48x64
    Image.new("RGB", (64, 48), "red").save(root / "images" / "junction.JPG", exif=turned)
    with av.open(str(root / "clips" / "drive.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(8):
            pixels = np.full((48, 64, 3), 20 * i, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")))
        file.mux(stream.encode())
    (root / "camera.json").write_text('{"field_of_view": 90}')
    (root / "classes.json").write_text(json.dumps(CLASSES))
    selection = tmp_path / "selection" / "4"
    selection.mkdir(parents=True)
    (selection / "files.txt").write_text("".join("\t".join(names) + "\n" for names in FILES.values()))
    return root
