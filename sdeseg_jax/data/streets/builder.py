"""Streets as a TFDS builder: generated on first use, then read like other datasets.

builder = Streets(config=StreetsConfig(height=96, width=192), data_dir=..., file_format="array_record")
builder.download_and_prepare()
frames = builder.as_data_source("train")
"""

import dataclasses
import functools
import itertools

import numpy as np
import tensorflow_datasets as tfds
from tqdm import auto as tqdm

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.data.streets.clip_renderer import DOMAINS
from sdeseg_jax.data.worker_processes import run_parallel

_NUM_SCENES = {"train": "train_scenes", "validation": "val_scenes"}

_BOUNDS = {
    "height": (1, 8192),
    "width": (1, 8192),
    "train_scenes": (1, 10**6),
    "val_scenes": (1, 10**6),
    "frames_per_clip": (1, 10**5),
    "seed": (0, 2**31 - 1),
    "processes": (0, 4096),
}
"""Smallest and largest value of each number in `StreetsConfig`."""


def frame_id(clip: str, frame: int) -> str:
    """Returns the id of a frame, unique within the dataset."""
    return f"{clip}_{frame:02d}"


@dataclasses.dataclass(eq=False)
class StreetsConfig(tfds.core.BuilderConfig):
    """Size of the dataset. All values that change the data are part of its name, which is its folder.

    Attributes:
      height, width: of the frames, in pixels.
      train_scenes, val_scenes: number of clips per split; the splits share no scene.
      frames_per_clip: number of consecutive frames.
      seed: of all worlds.
      domain: "target", or "source" with another look and other cameras.
      processes: number of renderers; 0 means one per CPU. Does not change the data.
    """

    name: str = ""
    height: int = 96
    width: int = 192
    train_scenes: int = 200
    val_scenes: int = 50
    frames_per_clip: int = 6
    seed: int = 0
    domain: str = "target"
    processes: int = 0

    def __post_init__(self):
        for field, (low, high) in _BOUNDS.items():
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"StreetsConfig.{field} must be a whole number from {low} to {high}, not {value!r}")
        if self.domain not in DOMAINS:
            raise ValueError(f"StreetsConfig.domain must be one of {', '.join(DOMAINS)}, not '{self.domain}'")
        self.name = (
            f"{self.width}x{self.height}_s{self.train_scenes}_v{self.val_scenes}_f{self.frames_per_clip}"
            f"_seed{self.seed}" + ("" if self.domain == "target" else f"_{self.domain}")
        )

    def clips(self) -> dict[str, list[tuple[str, int]]]:
        """Returns {split: clips in order (name, number of frames)}."""
        return {
            split: [(f"{split}_{index:04d}", self.frames_per_clip) for index in range(getattr(self, field))]
            for split, field in _NUM_SCENES.items()
        }


class Streets(tfds.core.GeneratorBasedBuilder):
    """Procedural driving video with exact labels, depth, ego-motion and intrinsics.

    One record is one frame; records are in the order of clips and frames, so that the neighbours of a frame are the
    records before and after it, as far as their `clip` is the same.
    """

    # Raise this whenever a change of scenes or renderer changes pixels: folders carry it.
    VERSION = tfds.core.Version("1.1.1")

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        size, tensor = (config.height, config.width), tfds.features.Tensor
        image = functools.partial(tfds.features.Image, encoding_format="png")
        depth_doc = "metres along the optical axis, +inf in the sky"
        features = {
            "image": image(shape=(*size, 3)),
            "label": image(shape=(*size, 1), doc="train id"),
            "depth": tensor(shape=(*size, 1), dtype=np.float32, encoding="zlib", doc=depth_doc),
            "intrinsics": tensor(shape=(3, 3), dtype=np.float32, doc="pixels; pixel centres at integers"),
            # As bytes: TFDS would otherwise store floating point numbers of any width in 32 bits.
            "pose": tensor(shape=(4, 4), dtype=np.float64, encoding="bytes", doc="camera to world; x right, y down"),
            "id": tfds.features.Text(),
            "clip": tfds.features.Text(),
            "frame": np.int32,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(
                clips={
                    split: [[clip, [frame_id(clip, t) for t in range(length)]] for clip, length in clips]
                    for split, clips in config.clips().items()
                },
                classes=CITYSCAPES.to_json(),
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {split: self._generate_examples(split) for split in _NUM_SCENES}

    def _generate_examples(self, split: str):
        config, keys = self.builder_config, itertools.count()  # keys of ordered datasets are integers
        clips = config.clips()[split]
        common = {name: getattr(config, name) for name in ("height", "width", "seed", "domain")}
        tasks = [dict(common, split=split, index=index, frames=length) for index, (_, length) in enumerate(clips)]
        total = sum(length for _, length in clips)
        with tqdm.tqdm(total=total, desc=f"Streets: rendering {split}", unit="frame") as progress:
            rendered = run_parallel("sdeseg_jax.data.streets.clip_encoding:encode_clip", tasks, config.processes)
            for (clip, length), frames in zip(clips, rendered, strict=True):
                for t, frame in enumerate(frames):
                    yield next(keys), {**frame, "id": frame_id(clip, t), "clip": clip, "frame": t}
                progress.update(length)
