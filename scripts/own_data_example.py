"""Runs every command of the README's "Your own data" on Streets clips, from videos to an exported network.

    python scripts/own_data_example.py --folder=runs/own_data_example [--steps=300]

Streets stands in for the user's data: video files, a camera, annotations (an export.json as tools write it), and a
video and photos to predict on. The commands are those of the README, adapted to a laptop's CPU: small networks from
random weights, few steps, twelve frames to annotate. The same command resumes.
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
from fractions import Fraction

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works without installation, too

CLIPS, FRAMES, SIZE, ANNOTATE = 12, 24, (96, 192), 12
HELD_OUT = "drive10\ndrive11\n"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="for inputs and results")
    parser.add_argument("--steps", type=int, default=300, help="per training")
    return parser.parse_args(argv)


def readme_commands(section: str = "Your own data") -> list[str]:
    """Returns the commands of a README section: continued lines joined, optional parts left out."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.split(f"\n## {section}\n")[1].split("\n## ")[0].replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if re.match(r"    (sdeseg|cut) ", line)]
    return [" ".join(re.sub(r"\[[^]]*\]", "", line).split()) for line in lines]


def shrink(command: str, steps: int) -> str:
    """Adapts a README command: small network, random weights, few steps."""
    command = command.replace("annotate=50", f"annotate={ANNOTATE}").replace("selection/50", f"selection/{ANNOTATE}")
    if "--config=" in command:
        small = f"=folder:size=small,encoder=resnet18_quarter,crop={SIZE[0]}x{SIZE[1]}"
        command = command.replace("=folder:", f"{small},").replace("--config=folder ", f"--config{small} ")
        command += f" --config.depth.steps={steps} --config.segmentation.steps={steps}"
    return command


def make_inputs(folder: pathlib.Path) -> None:
    """Writes the user's files: `my_data/` without labels, `drive.mp4` and `photos/`."""
    from sdeseg_jax.data.classes import CITYSCAPES
    from sdeseg_jax.data.streets import render_clip
    from sdeseg_jax.data.video_files import VideoWriter

    source = folder / "my_data"
    (source / "clips").mkdir(parents=True, exist_ok=True)
    for number in range(CLIPS):
        clip = render_clip("train", number, frames=FRAMES, height=SIZE[0], width=SIZE[1])
        with VideoWriter(source / "clips" / f"drive{number}.mp4", Fraction(10)) as writer:
            for image in clip["image"]:
                writer.write(image)
        np.savez_compressed(folder / f"truth{number}.npz", label=clip["label"])
    focal_length = clip["intrinsics"].reshape(-1, 3, 3)[0, 0, 0]
    angle = 2 * np.degrees(np.arctan(SIZE[1] / 2 / focal_length))
    (source / "camera.json").write_text(json.dumps({"field_of_view": round(float(angle), 2)}))
    classes = [{"name": n, "color": c} for n, c in zip(CITYSCAPES.names, CITYSCAPES.colors, strict=True)]
    (source / "classes.json").write_text(json.dumps({"classes": classes}))
    (source / "validation.txt").write_text(HELD_OUT)
    seen = render_clip("validation", 0, frames=FRAMES, height=SIZE[0], width=SIZE[1])["image"]
    with VideoWriter(folder / "drive.mp4", Fraction(10)) as writer:
        for image in seen:
            writer.write(image)
    (folder / "photos").mkdir(exist_ok=True)
    for number, image in enumerate(seen[:3]):
        Image.fromarray(image).resize((320, 200)).save(folder / "photos" / f"{number}.jpg")


def annotate(folder: pathlib.Path) -> None:
    """Writes labels of the chosen frames and of two held-out clips to `export.json`, as COCO's run-length masks."""
    from sdeseg_jax.data.classes import CITYSCAPES

    images, annotations = [], []
    names = [line.split("\t")[0] for line in (folder / "to_annotate" / "images.txt").read_text().splitlines()]
    names += [f"drive{clip}_{frame:06d}.jpg" for clip in (10, 11) for frame in range(2, FRAMES, 4)]
    for name in sorted({pathlib.Path(one).name for one in names if not one.startswith("#")}):
        clip, frame = re.match(r"drive(\d+)_(\d+)", name).groups()
        label = np.load(folder / f"truth{clip}.npz")["label"][int(frame)]
        images.append({"id": len(images), "file_name": name, "width": SIZE[1], "height": SIZE[0]})
        for class_id in np.unique(label[label < len(CITYSCAPES)]):
            mask = (label == class_id).ravel(order="F").astype(np.int8)
            changes = np.flatnonzero(np.diff(mask, prepend=0))
            counts = np.diff([0, *changes, len(mask)])
            runs = {"size": list(SIZE), "counts": [int(count) for count in counts]}
            annotation = {"image_id": images[-1]["id"], "category_id": int(class_id), "segmentation": runs}
            annotations.append({"id": len(annotations), "iscrowd": 1, **annotation})
    categories = [{"id": number, "name": name} for number, name in enumerate(CITYSCAPES.names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "export.json").write_text(json.dumps(content))


def main(argv: list[str] | None = None) -> int:
    """Runs all commands; returns the exit code of the first that fails, else 0."""
    arguments = parse_arguments(argv)
    folder = arguments.folder.absolute()
    if not (folder / "photos").exists():
        make_inputs(folder)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    for command in readme_commands():
        command = shrink(command, arguments.steps)
        if "import-labels" in command and not (folder / "export.json").exists():
            annotate(folder)
        output = re.search(r"--output=(\S+)", command)
        if output and "sdeseg run" not in command and "predict" not in command and (folder / output[1]).exists():
            continue  # made by an earlier call
        if "--model=" in command:
            command = command.replace("--output=predictions", "--output=predictions_of_the_export")
        print(f"\n$ {command}", flush=True)
        words = shlex.split(command)
        words = [sys.executable, "-m", "sdeseg_jax", *words[1:]] if words[0] == "sdeseg" else words
        if code := subprocess.run(words, cwd=folder, env=environment, check=False).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
