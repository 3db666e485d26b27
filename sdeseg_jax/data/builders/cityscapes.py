"""Cityscapes' annotated frames with the frames before and after them."""

import pathlib
import re
from collections import defaultdict

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.camera_intrinsics import Camera, check_camera
from sdeseg_jax.data.builders.scanned_clips import (
    Clip,
    Frame,
    LabelFormat,
    Scan,
    list_files,
    require_folders,
    runs_of_consecutive,
    scan_splits,
    unmatched,
)
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.storage.json_files import read_json

SPLITS = {"train": "train", "val": "validation"}
"""Folder -> split."""

TRAIN_IDS = {label: i for i, label in enumerate((7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33))}
"""Cityscapes' label id -> train id."""

LABEL_IDS = LabelFormat.from_ids(TRAIN_IDS, void={*range(35), 255} - set(TRAIN_IDS))
"""Files hold label ids; the licence plate's -1 is 255 in 8 bits, 34 in GTA5."""

DEFAULT_CAMERA = Camera(2262.52, 2265.30, 1096.98, 513.137, 2048, 1024)
_NAME = re.compile(r"(?P<city>.+)_(?P<sequence>\d{6})_(?P<number>\d{6})")


def frame_files(folder: pathlib.Path, suffix: str) -> dict[tuple[str, str], dict[int, str]]:
    """Finds a split's files `<city>/<city>_<sequence>_<frame><suffix>`: (city, sequence) -> frame number -> file."""
    found: dict = defaultdict(dict)
    cities = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    for path in (path for city in cities for path in list_files(city)):
        name = path.stem + path.suffix.lower()
        match = _NAME.fullmatch(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if match:
            found[match["city"], match["sequence"]][int(match["number"])] = str(path)
    return dict(sorted(found.items()))


def read_camera(source: pathlib.Path, split: str, city: str, name: str) -> tuple[Camera, float]:
    """Returns an image's intrinsics and stereo baseline (m) from `camera/`; Cityscapes' usual ones without a file.

    Raises:
      SourceError: the file is damaged, or its values are implausible.
    """
    path = source / "camera" / split / city / f"{name}_camera.json"
    if not path.exists():
        return DEFAULT_CAMERA, 0.209313
    try:
        content = read_json(path)
        values = [float(content["intrinsic"][key]) for key in ("fx", "fy", "u0", "v0")]
        baseline = float(content["extrinsic"]["baseline"])
        if not 0 < baseline < 10:
            raise ValueError(f"the baseline should be 0 to 10 m, not {baseline:g} m")
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise SourceError(f"{path}: is not a Cityscapes camera file ({type(error).__name__}: {error})") from error
    return check_camera(Camera(*values, 2048, 1024), str(path)), baseline


class Cityscapes(FramesBuilder, skip_registration=True):
    """Cityscapes: finely annotated frames, each with its neighbours where the sequence package is present.

    Neighbours are stored once, as context. `stereo_disparity` is the official one.
    """

    LAYOUT = """
        leftImg8bit/{train,val}/<city>/<city>_<seq>_<frame>_leftImg8bit.png
        gtFine/{train,val}/<city>/<city>_<seq>_<frame>_gtFine_labelIds.png
        leftImg8bit_sequence/{train,val}/<city>/…    (optional: neighbouring frames)
        camera/{train,val}/<city>/…_camera.json      (optional: intrinsics of every image)
        disparity/{train,val}/<city>/…_disparity.png (optional: stereo depth)
    """
    CLASSES = CITYSCAPES
    LABELS = LABEL_IDS
    HAS_STEREO = True

    def scan(self, source: pathlib.Path) -> Scan:
        require_folders(source, ("leftImg8bit/train", "gtFine/train"), self.LAYOUT)
        splits, notes = scan_splits(source, SPLITS, "leftImg8bit/{}", self._split)
        consequences = {
            "leftImg8bit_sequence": "frames have no neighbours, depth cannot be learned from them",
            "camera": "all images get Cityscapes' usual intrinsics",
            "disparity": "no stereo depth for evaluation",
        }
        notes += [
            f"{source / name} is missing: {what}" for name, what in consequences.items() if not (source / name).is_dir()
        ]
        return Scan(splits, tuple(notes))

    def _split(self, source: pathlib.Path, split: str, notes: list[str]) -> list[Clip]:
        images = frame_files(source / "leftImg8bit" / split, "_leftImg8bit.png")
        labels = frame_files(source / "gtFine" / split, "_gtFine_labelIds.png")
        video = frame_files(source / "leftImg8bit_sequence" / split, "_leftImg8bit.png")
        stereo = frame_files(source / "disparity" / split, "_disparity.png")
        clips = []
        for key, targets in images.items():
            city, sequence = key
            available = {**video.get(key, {}), **targets}
            wanted = [n for target in targets for n in (target - 1, target, target + 1) if n in available]
            for run in runs_of_consecutive(wanted):
                frames = []
                for number in run:
                    target = min(targets, key=lambda n: abs(n - number))
                    camera, baseline = read_camera(source, split, city, f"{city}_{sequence}_{target:06d}")
                    is_target = number in targets
                    frames.append(
                        Frame(
                            id=f"{city}_{sequence}_{number:06d}",
                            image=available[number],
                            camera=camera,
                            label=labels.get(key, {}).get(number) if is_target else None,
                            number=number,
                            is_context=not is_target,
                            stereo_disparity=stereo.get(key, {}).get(number) if is_target else None,
                            # Disparity is in pixels of the full-size image, and so is this focal length.
                            stereo_scale=baseline * camera.fx,
                        )
                    )
                clips.append(Clip(frames[0].id, tuple(frames)))
        notes += unmatched(_names(images), _names(labels), split)
        return clips


def _names(files: dict[tuple[str, str], dict[int, str]]) -> list[str]:
    return [f"{city}_{sequence}_{number:06d}" for (city, sequence), numbers in files.items() for number in numbers]
