"""Decides how label files hold classes, by ids, grey levels or colours, and decodes them.

A file of a palette holds two numbers for every pixel: its index, and the colour that is shown. Which of them stands for
the class cannot be seen in one pixel; programs that make files smaller keep the colours and change the indices. So the
readings that are possible are compared. Where they agree, there is no question; where they differ, the palette's
colours decide if they are colours of classes; what remains open is refused.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from sdeseg_jax.data.builders.label_pixels import COLORS, GREY, PALETTE, LabelSymbols, survey_label
from sdeseg_jax.data.builders.scanned_clips import LabelFormat, unlisted
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import VOID
from sdeseg_jax.data.worker_processes import run_parallel

BY_ID, BY_LEVEL, BY_COLOR, BY_NAME = "ids", "levels", "colors", "names"
"""Readings: by sample or index; by the grey level that is shown; by the colour that is shown; by the names that this
program writes into its own label files."""

HOLDS = (BY_ID, BY_COLOR)
"""What a user can state in classes.json."""

UNKNOWN = -1

_IN_PARALLEL = 64
"""Files from which on starting worker processes pays."""

_STATE_IT = 'Say which in classes.json: "labels": "ids" or "labels": "colors"'
_SAVE_GREY = "Save them as grey PNG with 8 bits that holds the ids"
_WORDS = {BY_ID: "by value", BY_LEVEL: "by grey level", BY_COLOR: "by colour", BY_NAME: "by the names in the file"}


def decode_label(symbols: LabelSymbols, places: np.ndarray, labels: LabelFormat, reading: str = "") -> np.ndarray:
    """Returns train ids [H, W] uint8 of a label file, see `label_pixels.read_label`.

    Args:
      reading: from `choose_readings`; "" decides by this file alone, for files that are known to hold ids.

    Raises:
      SourceError: a value is not listed, is transparent, or could be read in several ways.
    """
    reading = reading or _reading_of_ids(symbols, labels)
    train_ids = _train_ids(symbols, labels, reading)
    transparent = _transparent(symbols)
    if (symbols.alpha[~transparent] < 255).any() and not _is_uniform(symbols.alpha):
        raise SourceError("is partly transparent, as blurred edges are; save it without transparency")
    classes = transparent & (train_ids >= 0) & (train_ids != VOID)
    if classes.any():
        example = _shown(symbols, int(np.flatnonzero(classes)[0]))
        raise SourceError(
            f"has transparent pixels of {example}, which is a class. They may be of that class, or not annotated; save "
            "it without transparency"
        )
    train_ids = np.where(transparent, VOID, train_ids)
    if (train_ids < 0).any():
        raise _unlisted(symbols, places, train_ids < 0, labels, reading)
    return train_ids.astype(np.uint8)[places]


def choose_readings(files: Iterable[str], labels: LabelFormat, processes: int = 0) -> dict[str, str]:
    """Returns label file -> how it holds classes, for the label files of one dataset. Damaged files are left out.

    Args:
      files: all of them, because one alone may show too little.
      labels: the classes.
      processes: worker processes that read them; 0: one per CPU.

    Raises:
      SourceError: files could be read in several ways, or hold black and white as masks do.
    """
    files = list(files)
    if len(files) < _IN_PARALLEL:
        surveyed: Iterable = map(survey_label, files)
    else:
        surveyed = run_parallel("sdeseg_jax.data.builders.label_pixels:survey_label", files, processes, ahead=8)
    found = {path: one for path, one in zip(files, surveyed, strict=True) if one is not None}
    if labels.holds == BY_COLOR:
        return dict.fromkeys(found, BY_COLOR)
    if labels.holds == BY_ID:
        labels = dataclasses.replace(labels, colors=None, own_colors={})
    groups: dict[tuple, list[str]] = defaultdict(list)
    readings: dict[str, str] = {}
    for path, one in found.items():
        named = one.names is not None and not labels.holds
        if named and (reading := _named_reading(path, one, labels)):
            readings[path] = reading
        else:
            groups[one.kind, one.palette].append(path)
    readings |= _group_readings(groups, found, labels, BY_COLOR in readings.values())
    _refuse_masks({path: (found[path], reading) for path, reading in readings.items()}, labels)
    return readings


def _group_readings(
    groups: Mapping[tuple, list[str]], found: Mapping[str, LabelSymbols], labels: LabelFormat, by_color: bool
) -> dict[str, str]:
    """Returns file -> reading. Files of one kind and palette are read in the same way.

    Args:
      groups: (kind, palette) -> files.
      by_color: whether other files of the dataset hold colours.
    """
    chosen: dict[tuple, str] = {}
    # Grey files and grey palettes last: whether other files hold colours tells what black and white are.
    for key in sorted(groups, key=lambda key: (COLORS, PALETTE, GREY).index(key[0]) + _is_identity(key[1])):
        paths = groups[key]
        one = _merged([found[path] for path in paths])
        try:
            chosen[key] = _CHOOSE[key[0]](one, labels, by_color or BY_COLOR in chosen.values())
        except SourceError as error:
            raise SourceError(f"{paths[0]}{_and_more(len(paths))}: {error}") from error
    _refuse_mixed_palettes({key: (groups[key], reading) for key, reading in chosen.items()}, found, labels)
    return {path: reading for key, reading in chosen.items() for path in groups[key]}


def _refuse_mixed_palettes(chosen: Mapping, found: Mapping[str, LabelSymbols], labels: LabelFormat) -> None:
    """Raises SourceError if palettes of the classes' colours occur beside palettes of others, read by index."""
    examples: dict[str, str] = {}
    for (kind, _), (paths, reading) in chosen.items():
        if kind == PALETTE:
            one = _merged([found[path] for path in paths])
            if reading == BY_ID and (_train_ids(one, labels, BY_COLOR) < 0).all() and not _is_grey(one).all():
                examples.setdefault(BY_ID, paths[0])
            elif reading == BY_COLOR and _disagree(one, labels).any():
                examples.setdefault(BY_COLOR, paths[0])
    if len(examples) > 1:
        raise SourceError(
            f"{examples[BY_COLOR]} has a palette of the classes' colours at other indices than their ids, and "
            f"{examples[BY_ID]} one of other colours, so that only its indices can be ids. {_STATE_IT}"
        )


def _reading_of_ids(one: LabelSymbols, labels: LabelFormat) -> str:
    """Returns the reading of a file of a dataset whose label files hold ids in 8 bits as published."""
    if one.kind == GREY and one.bits < 8:  # made smaller, which keeps the levels that are shown
        return BY_LEVEL if (_train_ids(one, labels, BY_LEVEL) >= 0).all() else BY_ID
    return _CHOOSE[one.kind](_without_transparent(one), labels, False)


def _choose_colors(one: LabelSymbols, labels: LabelFormat, colors_elsewhere: bool) -> str:
    del colors_elsewhere
    by_color, by_level = (_train_ids(one, labels, reading) for reading in (BY_COLOR, BY_LEVEL))
    if labels.colors is None:
        return BY_LEVEL if (by_level >= 0).all() else BY_COLOR
    open_to_doubt = ((by_color >= 0) & (by_color != by_level)).any()
    return BY_LEVEL if (by_level >= 0).all() and (by_color < 0).any() and not open_to_doubt else BY_COLOR


def _choose_grey(one: LabelSymbols, labels: LabelFormat, colors_elsewhere: bool) -> str:
    by_id, by_level, by_color = (_train_ids(one, labels, reading) for reading in (BY_ID, BY_LEVEL, BY_COLOR))
    if (by_color >= 0).all() and (colors_elsewhere or _has_white_class(one, by_color)):
        if len(by_color) == 1 and not colors_elsewhere and by_id[0] == VOID != by_color[0]:
            raise _ambiguous(one, labels, BY_ID, BY_COLOR, _STATE_IT)  # all white: the class, or not annotated
        return BY_COLOR
    valid = [reading for reading, ids in ((BY_ID, by_id), (BY_LEVEL, by_level)) if (ids >= 0).all()]
    if _is_black_and_white(one) and one.bits == 0 and BY_LEVEL in valid:
        return BY_LEVEL  # masks of one and of eight bits; `_refuse_masks` says what to do
    if len(valid) == 2 and (by_id != by_level).any() and one.bits != 1:
        raise _ambiguous(one, labels, BY_ID, BY_LEVEL, _SAVE_GREY)
    if not valid:
        return BY_COLOR if (by_color >= 0).all() else BY_ID
    # Programs that make files smaller turn black and white colours into grey of one bit; 8 bits hold ids.
    if one.bits != 8 and (by_color >= 0).all() and (by_color != _train_ids(one, labels, valid[0])).any():
        raise _ambiguous(one, labels, valid[0], BY_COLOR, _STATE_IT)
    return valid[0]


def _has_white_class(one: LabelSymbols, by_color: np.ndarray) -> bool:
    """Whether white occurs and is the colour of a class; as an id, 255 is void."""
    return bool((by_color[(one.colors == 255).all(1)] != VOID).any())


def _choose_palette(one: LabelSymbols, labels: LabelFormat, colors_elsewhere: bool) -> str:
    by_id, by_level, by_color = (_train_ids(one, labels, reading) for reading in (BY_ID, BY_LEVEL, BY_COLOR))
    grey, disagree = _is_grey(one), _disagree(one, labels)
    if (by_id < 0).any():
        if (by_color >= 0).all():
            return BY_COLOR
        return BY_LEVEL if (by_level >= 0).all() else BY_COLOR if (by_color >= 0).any() else BY_ID
    if _is_identity(one.palette):
        whole = np.array([_color_id(color, labels) for color in one.palette])
        if not disagree.any() or (whole < 0).any():
            return BY_ID
        if colors_elsewhere or _has_white_class(one, by_color):
            return BY_COLOR
        raise _ambiguous(one, labels, BY_ID, BY_COLOR, _STATE_IT)
    if grey.all() and (by_color < 0).any():
        return _choose_grey_palette(one, labels, by_id, by_level)
    if not disagree.any():
        return BY_ID
    if (by_color >= 0).all():
        return BY_COLOR
    raise _ambiguous(one, labels, BY_ID, BY_COLOR, f"Other colours of its palette belong to no class. {_STATE_IT}")


def _choose_grey_palette(one: LabelSymbols, labels: LabelFormat, by_id: np.ndarray, by_level: np.ndarray) -> str:
    """Returns the reading of a palette of grey levels that are not the indices."""
    if (by_level < 0).any() or (by_id == by_level).all():
        return BY_ID
    number, levels = len(one.palette), np.array(one.palette)[:, 0]
    stretched = number > 1 and np.abs(levels - np.arange(number) * 255 / (number - 1)).max() < 1
    if stretched and number == 2:
        return BY_ID  # black and white: a mask of one bit
    if stretched or _is_black_and_white(one):
        raise _ambiguous(one, labels, BY_ID, BY_LEVEL, _SAVE_GREY)
    return BY_LEVEL


_CHOOSE: dict[str, Callable[[LabelSymbols, LabelFormat, bool], str]] = {
    COLORS: _choose_colors,
    GREY: _choose_grey,
    PALETTE: _choose_palette,
}


def _named_reading(path: str, one: LabelSymbols, labels: LabelFormat) -> str:
    """Returns the reading of a file that this program wrote; "" if it names none of the classes."""
    by_name, by_color = (_train_ids(one, labels, reading) for reading in (BY_NAME, BY_COLOR))
    if one.kind == PALETTE and (by_color >= 0).all():
        if (by_name >= 0).all() and (by_name != by_color).any():
            raise SourceError(f"{path}: {_ambiguous(one, labels, BY_NAME, BY_COLOR, _STATE_IT)}")
        return BY_COLOR
    if (by_name >= 0).all():
        return BY_NAME
    place = int(np.flatnonzero(by_name < 0)[0])
    name = (one.names or {}).get(int(one.values[place]))
    if name is None or not labels.names:
        return ""
    raise SourceError(
        f"{path}: holds class '{name}', as the file itself says, but classes.json has no class of this name. Add it, "
        'give the classes their colours, or, if the values are ids of classes.json, say "labels": "ids" there'
    )


def _refuse_masks(files: Mapping[str, tuple[LabelSymbols, str]], labels: LabelFormat) -> None:
    """Raises SourceError if all files hold 0 and 255 only, as masks of one class do, and 255 would be void."""
    if labels.holds or labels.train_ids.get(0, VOID) == VOID or len(set(labels.train_ids.values()) - {VOID}) < 2:
        return
    levels: set[int] = set()
    for one, reading in files.values():
        if reading in (BY_COLOR, BY_NAME):
            return
        values = one.values if reading == BY_ID and one.kind != COLORS else one.colors[:, 0]
        levels |= set(values.tolist())
        if not levels <= {0, 255}:
            return
    if levels == {0, 255}:
        path, first = next(iter(files)), _class_name(labels, labels.train_ids[0])
        raise SourceError(
            f"{path}{_and_more(len(files))}: labels hold the values 0 and 255 only, as masks in black and white do. "
            f"255 is void, so that {first} would be the only class. If white is a class, give the classes in "
            'classes.json their colours: "color": [0, 0, 0] and "color": [255, 255, 255]. If white is void, say '
            '"labels": "ids" there'
        )


def _train_ids(one: LabelSymbols, labels: LabelFormat, reading: str) -> np.ndarray:
    """Returns the train id of each symbol, [N] int, `UNKNOWN` where it has none in this reading."""
    if reading == BY_COLOR:
        own = labels.own_colors if one.kind == PALETTE else {}
        return np.array([_color_id(color, labels, own) for color in map(tuple, one.colors.tolist())], int)
    if reading == BY_NAME:
        known = {name: train_id for train_id, name in enumerate(labels.names)}
        names = one.names or {}
        found = [VOID if value == VOID else known.get(names.get(value), UNKNOWN) for value in one.values.tolist()]
        return np.array(found, int)
    by_level = reading == BY_LEVEL or one.kind == COLORS
    values = np.where(_is_grey(one), one.colors[:, 0], UNKNOWN) if by_level else one.values
    return np.array([labels.train_ids.get(value, UNKNOWN) for value in values.tolist()], int)


def _color_id(color: tuple, labels: LabelFormat, own: Mapping | None = None) -> int:
    return (labels.colors or {}).get(color, (own or {}).get(color, UNKNOWN))


def _disagree(one: LabelSymbols, labels: LabelFormat) -> np.ndarray:
    """Returns bool [N]: symbols whose colour is that of another class than their index."""
    by_id, by_color = _train_ids(one, labels, BY_ID), _train_ids(one, labels, BY_COLOR)
    shared = np.array([tuple(color) in labels.shared_colors for color in one.colors.tolist()], bool)
    return (by_color >= 0) & (by_id != by_color) & ~(shared & (by_id == VOID))


def _is_grey(one: LabelSymbols) -> np.ndarray:
    return (one.colors[:, 0] >= 0) & (one.colors == one.colors[:, :1]).all(1)


def _is_black_and_white(one: LabelSymbols) -> bool:
    return bool(np.isin(one.colors, (0, 255)).all() and _is_grey(one).all())


def _is_identity(palette: tuple) -> bool:
    """Whether the palette is a grey ramp, whose levels are the indices."""
    return bool(palette) and all(color == (i, i, i) for i, color in enumerate(palette))


def _is_uniform(alpha: np.ndarray) -> bool:
    return len(alpha) > 0 and alpha.min() == alpha.max() > 0


def _transparent(one: LabelSymbols) -> np.ndarray:
    return one.alpha == 0


def _without_transparent(one: LabelSymbols) -> LabelSymbols:
    seen = ~_transparent(one)
    return dataclasses.replace(one, values=one.values[seen], colors=one.colors[seen], alpha=one.alpha[seen])


def _merged(files: list[LabelSymbols]) -> LabelSymbols:
    """Returns the symbols of several files of one kind and palette, without transparent ones."""
    files = [_without_transparent(one) for one in files]
    rows = {(v, *c) for one in files for v, c in zip(one.values.tolist(), one.colors.tolist(), strict=True)}
    table = np.array(sorted(rows), int).reshape(-1, 4)
    bits = {one.bits for one in files if len(one.values)} or {8}
    # Grey files of different depth were made smaller: what is shown is the same, the samples are not.
    common = bits.pop() if len(bits) == 1 else 0
    return LabelSymbols(files[0].kind, common, table[:, 0], table[:, 1:], np.full(len(table), 255), files[0].palette)


def _shown(one: LabelSymbols, place: int) -> str:
    color = tuple(one.colors[place].tolist())
    return f"colour {color}" if one.kind == COLORS else f"value {one.values[place]}, colour {color}"


def _ambiguous(one: LabelSymbols, labels: LabelFormat, first: str, second: str, remedy: str) -> SourceError:
    """Returns the error for symbols with two meanings, with an example."""
    meanings = [_train_ids(one, labels, reading) for reading in (first, second)]
    differing = np.flatnonzero((meanings[0] != meanings[1]) & (meanings[0] >= 0) & (meanings[1] >= 0))
    place = int(differing[0])
    a, b = (_class_name(labels, int(ids[place])) for ids in meanings)
    return SourceError(
        f"could be read in two ways: {_shown(one, place)}, is {a} {_WORDS[first]}, but {b} {_WORDS[second]}. {remedy}"
    )


def _class_name(labels: LabelFormat, train_id: int) -> str:
    if train_id == VOID:
        return "void"
    return f"'{labels.names[train_id]}'" if labels.names else f"class {train_id}"


def _unlisted(one: LabelSymbols, places: np.ndarray, unknown: np.ndarray, labels: LabelFormat, reading: str):
    if reading == BY_COLOR and labels.colors is None:
        return SourceError("holds colours, where class ids (one channel) are expected")
    if reading == BY_COLOR:
        values = [tuple(color) for color in one.colors[unknown].tolist()]
    else:
        values = (one.colors[:, 0] if reading == BY_LEVEL and one.kind != GREY else one.values)[unknown].tolist()
    return unlisted(values, unknown[places])


def _and_more(number: int) -> str:
    return f" and {number - 1} more" if number > 1 else ""
