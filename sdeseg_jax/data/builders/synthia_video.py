"""SYNTHIA-SEQS: rendered video of the world that SYNTHIA-RAND-CITYSCAPES shows."""

import pathlib

from sdeseg_jax.data.builders.base_builder import FramesBuilder
from sdeseg_jax.data.builders.scanned_clips import Scan, describe, numbered_files, video_clips
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.builders.synthia import CAMERA

IMAGES = "RGB/Stereo_Left/Omni_F"
"""Images of the forward camera in a sequence's folder."""


class SynthiaVideo(FramesBuilder, skip_registration=True):
    """SYNTHIA-SEQS: 5 Hz video, stored without labels, for learning depth; the last of several is `validation`."""

    LAYOUT = """
        SYNTHIA-SEQS-<nn>-<SEASON>/RGB/Stereo_Left/Omni_F/<frame>.png    (one or more sequences)
    """

    def scan(self, source: pathlib.Path) -> Scan:
        present = sorted(path.parents[2] for path in source.glob(f"*/{IMAGES}/"))
        if not present:
            raise SourceError(f"{source} has no sequence.\n{describe(source, self.LAYOUT)}")
        notes = [
            f"{path.name} has no {IMAGES}; it is left out"
            for path in sorted(source.glob("SYNTHIA-SEQS-*/"))
            if path not in present
        ]
        parts = {"train": present[:-1], "validation": present[-1:]}
        if len(present) == 1:
            notes.append("only one sequence: no split 'validation'")
            parts = {"train": present}
        splits = {
            split: [clip for path in part for clip in video_clips(path.name, numbered_files(path / IMAGES), CAMERA)]
            for split, part in parts.items()
        }
        return Scan(splits, tuple(notes))
