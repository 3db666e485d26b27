"""Streets as a TFDS builder: generated on first use, then read like any other dataset.

builder = Streets(config=StreetsConfig(height=96, width=192), data_dir=..., file_format="array_record")
builder.download_and_prepare()
frames = builder.as_data_source("train")
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from tqdm import auto as tqdm

from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.data.streets.clip_renderer import DOMAINS
from sdeseg_jax.data.worker_processes import run_parallel

_NUM_SCENES = {"train": "train_scenes", "validation": "val_scenes"}


_BOUNDS = {
    "height": (1, 8192), "width": (1, 8192), "train_scenes": (1, 10**6), "val_scenes": (1, 10**6),
    "frames_per_clip": (1, 10**5), "seed": (0, 2**31 - 1), "processes": (0, 4096),
}  # fmt: skip
"""Smallest and largest value of each number in `StreetsConfig`."""


def frame_id(clip: str, frame: int) -> str:
    """Id of a frame, unique within the dataset."""
    return f"{clip}_{frame:02d}"


@dataclasses.dataclass(eq=False)
class StreetsConfig(tfds.core.BuilderConfig):
    """Size of the dataset. The name (and with it the folder) is derived from all values.

    Attributes:
      height, width: of the frames, in pixels.
      train_scenes, val_scenes: number of clips per split; the splits share no scene.
      frames_per_clip: consecutive frames of each.
      seed: of all worlds.
      domain: "target", or "source": scenes of another look, seen by other cameras.
      processes: that render; 0 is one per CPU. Does not change the data.
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
                raise ValueError(f"StreetsConfig.{field} must be a whole number of {low} to {high}, not {value!r}")
        if self.domain not in DOMAINS:
            raise ValueError(f"StreetsConfig.domain must be one of {', '.join(DOMAINS)}, not '{self.domain}'")
        self.name = (
            f"{self.width}x{self.height}_s{self.train_scenes}_v{self.val_scenes}_f{self.frames_per_clip}"
            f"_seed{self.seed}" + ("" if self.domain == "target" else f"_{self.domain}")
        )

    def clips(self) -> dict[str, list[tuple[str, int]]]:
        """Per split the clips in their order: (name, number of frames)."""
        return {
            split: [(f"{split}_{index:04d}", self.frames_per_clip) for index in range(getattr(self, field))]
            for split, field in _NUM_SCENES.items()
        }


class Streets(tfds.core.GeneratorBasedBuilder):
    """Procedural driving video with exact labels, depth, ego-motion and intrinsics.

    One record is one frame; records are in the order of clips and frames, so that the neighbours of a frame are the
    records before and after it, as far as their `clip` is the same.
    """

    # To be raised whenever scenes or renderer change what a configuration looks like: folders carry it.
    VERSION = tfds.core.Version("1.1.1")

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        shape = (config.height, config.width)
        features = {
            "image": tfds.features.Image(shape=(*shape, 3), encoding_format="png"),
            "label": tfds.features.Image(shape=(*shape, 1), encoding_format="png", doc="train id"),
            "depth": tfds.features.Tensor(
                shape=(*shape, 1), dtype=np.float32, encoding="zlib",
                doc="metres along the optical axis, +inf in the sky",
            ),
            "intrinsics": tfds.features.Tensor(shape=(3, 3), dtype=np.float32, doc="pixels; pixel centres at integers"),
            # As bytes: TFDS would otherwise store floating point numbers of any width in 32 bits.
            "pose": tfds.features.Tensor(
                shape=(4, 4), dtype=np.float64, encoding="bytes", doc="camera to world; x right, y down",
            ),
            "id": tfds.features.Text(),
            "clip": tfds.features.Text(),
            "frame": np.int32,
        }  # fmt: skip
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
        config = self.builder_config
        clips = config.clips()[split]
        tasks = [
            dict(
                split=split,
                index=index,
                frames=length,
                height=config.height,
                width=config.width,
                seed=config.seed,
                domain=config.domain,
            )
            for index, (_, length) in enumerate(clips)
        ]
        key = 0  # ordered datasets want integers
        total = sum(length for _, length in clips)
        with tqdm.tqdm(total=total, desc=f"Streets: rendering {split}", unit="frame") as progress:
            rendered = run_parallel("sdeseg_jax.data.streets.clip_encoding:encode_clip", tasks, config.processes)
            for (clip, length), frames in zip(clips, rendered, strict=True):
                for t, frame in enumerate(frames):
                    yield key, {**frame, "id": frame_id(clip, t), "clip": clip, "frame": t}
                    key += 1
                progress.update(length)
