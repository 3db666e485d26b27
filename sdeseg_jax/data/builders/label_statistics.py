"""What the labels of a prepared dataset hold: a table of classes, and warnings of what is probably a mistake."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sdeseg_jax.data.classes import VOID

_SHOWN = 3
"""Most frames that a warning names."""


@dataclasses.dataclass(frozen=True)
class LabelStatistics:
    """Pixels of the annotated frames of a split, as stored.

    Attributes:
      annotated: number of annotated frames.
      pixels: per class.
      frames: per class, number of frames with a pixel of it.
      void: pixels without a class.
      all_void: ids of frames that are annotated, but have no pixel of any class.
      one_class: [id, train id] of frames with pixels of one class only.
    """

    annotated: int
    pixels: list[int]
    frames: list[int]
    void: int
    all_void: list[str]
    one_class: list

    @classmethod
    def count(cls, labels: Iterable[tuple[str, Mapping]], classes: int) -> "LabelStatistics":
        """Adds up annotated frames.

        Args:
          labels: (frame id, {train id: pixels}).
          classes: number of classes.
        """
        pixels, frames, all_void, one_class, annotated = Counter(), Counter(), [], [], 0
        for name, counts in labels:
            annotated += 1
            counts = {int(train_id): number for train_id, number in counts.items()}
            pixels.update(counts)
            present = sorted(counts.keys() - {VOID})
            frames.update(present)
            if not present:
                all_void.append(name)
            elif len(present) == 1:
                one_class.append([name, present[0]])
        of_class = range(classes)
        return cls(
            annotated, [pixels[i] for i in of_class], [frames[i] for i in of_class], pixels[VOID], all_void, one_class
        )

    def to_json(self) -> dict:
        """Returns a plain dict; `LabelStatistics(**dict)` is its inverse."""
        return dataclasses.asdict(self)


def class_table(splits: Mapping[str, LabelStatistics], names: Sequence[str]) -> list[str]:
    """Returns the lines of a table: per split and class the share of annotated pixels and the frames with it, and void.

    Args:
      splits: split -> its statistics; those without annotated frames are left out.
      names: of the classes.
    """
    splits = {split: one for split, one in splits.items() if one.annotated}
    if not splits:
        return []
    width = max(len(name) for name in ("class", "void", *names))
    rows = ["share of each class in the annotated pixels, and frames with it:"]
    rows.append(f"  {'class':{width}}" + "".join(f"  {f'{split} pixels':>17}  {'frames':>6}" for split in splits))
    for train_id, name in enumerate(names):
        cells = [(_share(one.pixels[train_id], sum(one.pixels)), one.frames[train_id]) for one in splits.values()]
        rows.append(f"  {name:{width}}" + "".join(f"  {share:>17}  {frames:>6}" for share, frames in cells))
    shares = [_share(one.void, sum(one.pixels) + one.void) for one in splits.values()]
    shares = [share if share == "none" else f"{share} of all" for share in shares]
    rows.append(f"  {'void':{width}}" + "".join(f"  {share:>17}  {'':>6}" for share in shares).rstrip())
    return rows


def _share(part: int, whole: int) -> str:
    share = part / whole if whole else 0.0
    return "none" if not part else "<0.01%" if share < 0.0001 else f"{share:.2%}"


def label_warnings(splits: Mapping[str, LabelStatistics], names: Sequence[str]) -> list[str]:
    """Returns warnings: classes without any pixel, annotated frames that are all void or have one class only."""
    warnings = []
    for split, one in splits.items():
        if not one.annotated:
            continue
        lacking = [name for name, pixels in zip(names, one.pixels, strict=True) if not pixels]
        if len(lacking) == len(names):
            warnings.append(
                f"{split}: no label has a pixel of any class, all {one.annotated} are void; see which values its files "
                "hold, and which the classes have"
            )
            continue
        if lacking:
            warnings.append(
                f"{split}: no pixel of {', '.join(lacking)}. If there should be some, the label files hold other "
                "values than those of the classes"
            )
        if one.all_void:
            warnings.append(f"{split}: {len(one.all_void)} labels are all void: {_listed(one.all_void)}")
        if one.one_class and len(names) > 1:
            examples = [f"{name} ({names[train_id]})" for name, train_id in one.one_class]
            warnings.append(f"{split}: {len(examples)} labels hold one class only: {_listed(examples)}")
    return warnings


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
