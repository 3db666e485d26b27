"""Finds frames of a user's folder (see `folder.Folder`) by the names that annotation tools give them."""

import dataclasses
import pathlib
import re
from collections import defaultdict
from collections.abc import Mapping

from sdeseg_jax.data.builders.annotation_file_names import image_file, tool_name
from sdeseg_jax.data.builders.folder import Folder, file_names
from sdeseg_jax.data.builders.folder_contents import find_footage
from sdeseg_jax.data.builders.folder_labels import label_folder
from sdeseg_jax.data.builders.frame_order import same_form
from sdeseg_jax.data.builders.scanned_clips import Frame
from sdeseg_jax.data.builders.source_errors import SourceError


@dataclasses.dataclass(frozen=True)
class FolderFrame:
    """A frame and the place of its label.

    Attributes:
      clip: "" for a single image.
      stem: name of its label, without ".png".
      frame: as the builder finds it; its id is unique in the folder.
      image, label: as `files.txt` of a selection names them, relative to the folder.
    """

    clip: str
    stem: str
    frame: Frame
    image: str
    label: str


def find_frames(source: pathlib.Path) -> dict[str, FolderFrame]:
    """Returns all frames of a folder by id; videos are counted, not decoded.

    Raises:
      SourceError: the folder holds no footage, a video cannot be read, or two frames have the same id.
    """
    footage, images, _ = find_footage(source, Folder.LAYOUT)
    named = [("", stem := same_form(path.stem), Frame(stem, str(path))) for path in images]
    for one in footage:
        try:
            named += [(one.name, stem, frame) for stem, frame in one.frames().items()]
        except ValueError as error:
            raise SourceError(f"{one.path}: {error}. Copy it again, or take it out of the folder.") from error
    frames: dict[str, FolderFrame] = {}
    labels = label_folder(source).name
    for clip, stem, frame in named:
        found = FolderFrame(clip, stem, frame, *file_names(source, clip, stem, frame, labels))
        if other := frames.get(frame.id):
            same = f"{other.image} and {found.image} are both frame '{frame.id}'"
            raise SourceError(f"{source}: {same}; rename one of them")
        frames[frame.id] = found
    return frames


def ambiguous_labels(frames: Mapping[str, FolderFrame]) -> dict[str, list[str]]:
    """Returns label files that may belong to several images -> these images."""
    places = defaultdict(list)
    for one in frames.values():
        places[one.stem].append(one.image)
    return {
        one.label: places[one.stem]
        for one in frames.values()
        if one.label.count("/") == 1 and len(places[one.stem]) > 1
    }


class FrameNames:
    """Finds frames by the names of image files in exports of annotation tools."""

    def __init__(self, frames: Mapping[str, FolderFrame]):
        """Takes the result of `find_frames`."""
        # Names in an annotation package come first, then names in the user's folder.
        self._tables = [defaultdict(list) for _ in range(3)]
        for one in frames.values():
            names = one.frame.id, f"{one.clip or 'images'}/{one.stem}", one.stem
            for table, name in zip(self._tables, names, strict=True):
                table["/".join(map(tool_name, name.split("/")))].append(one)

    def find(self, name: str) -> FolderFrame | None:
        """Returns the frame of an image file, None if it is unknown.

        Args:
          name: path or URL in the export; of its folders, only the last counts. It may have the random prefix that
            Label Studio adds to uploaded files ("1a2b3c4d-").

        Raises:
          ValueError: several frames fit.
        """
        parts = image_file(name).split("/")
        *folders, last = [tool_name(part) for part in (*parts[:-1], re.sub(r"\.\w+$", "", parts[-1]))]
        for stem in dict.fromkeys((last, re.sub(r"^[0-9a-f]{8}-", "", last))):
            for table, key in zip(self._tables, (stem, "/".join([*folders[-1:], stem]), stem), strict=True):
                found = table.get(key, ())
                if len(found) > 1:
                    raise ValueError(f"may be {' or '.join(one.image for one in found)}")
                if found:
                    return found[0]
        return None

    def known(self) -> list[str]:
        """Returns the names of images in an annotation package, without suffix, for suggestions."""
        return list(self._tables[0])
