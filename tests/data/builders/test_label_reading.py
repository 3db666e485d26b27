"""Label files of every mode, bit depth and palette mean what a person sees in them, or are refused in words."""

import functools
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.data.builders.classes_json import read_classes
from sdeseg_jax.data.builders.label_pixels import read_label
from sdeseg_jax.data.builders.label_reading import choose_readings, decode_label
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import VOID
from tests.data.builders.png_writer import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, png

ROAD, CAR, SKY, BLACK, WHITE = (128, 64, 128), (0, 0, 142), (70, 130, 180), (0, 0, 0), (255, 255, 255)
STREET = {
    "classes": [{"name": "road", "color": ROAD}, {"name": "car", "color": CAR}, {"name": "sky", "color": SKY}],
    "void_color": BLACK,
}
WITH_IDS = {
    "classes": [{**one, "id": id_} for one, id_ in zip(STREET["classes"], (7, 26, 3), strict=True)],
    "void": [0],
    "void_color": [BLACK],
}
PLAIN = {"classes": [{"name": "background"}, {"name": "road"}]}
MASKS = {"classes": [{"name": "background", "color": BLACK}, {"name": "road", "color": WHITE}]}
NO_COLORS = {"classes": [{"name": name} for name in ("road", "car", "sky")]}

TRUTH = np.resize(np.array([0, 1, 2, VOID, 2, 0, 1, 1, 2], np.uint8), (8, 12))
"""Train ids of a label that has all classes, and void."""

UNRELATED = [(9, 200, 1), (200, 9, 33), (1, 77, 99), (240, 240, 9), (11, 12, 13)]


@pytest.fixture
def formats(tmp_path):
    """Returns how label files are read by the content of classes.json."""

    @functools.lru_cache
    def read_text(text):
        path = tmp_path / "classes.json"
        path.write_text(text)
        return read_classes(path, "own")[1]

    return lambda classes: read_text(json.dumps(classes))


@pytest.fixture
def decode(tmp_path, formats):
    """Reads label files of one dataset: (classes.json, contents of files) -> train ids of each."""

    def run(classes, *contents):
        paths = []
        for number, content in enumerate(contents):
            paths.append(tmp_path / f"{number}.png")
            paths[-1].write_bytes(content)
        labels = formats(classes)
        readings = choose_readings(map(str, paths), labels)
        return [decode_label(*read_label(path), labels, readings[str(path)]) for path in paths]

    return run


def lookup(train_ids, table):
    """Replaces train ids by values or colours."""
    return np.array([table[one] for one in train_ids.ravel().tolist()]).reshape(*train_ids.shape, -1).squeeze(-1)


def colored(train_ids, void=BLACK):
    table = {0: ROAD, 1: CAR, 2: SKY, VOID: void}
    return np.array([table[one] for one in train_ids.ravel().tolist()], np.uint8).reshape(*train_ids.shape, 3)


@pytest.mark.parametrize("classes", [STREET, WITH_IDS])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_palettes_of_the_classes_in_any_order_are_read_by_colour(decode, classes, bits):
    """As programs write them that make colour labels smaller; with unused entries behind and between."""
    colors = {0: ROAD, 1: CAR, 2: SKY, VOID: BLACK}
    contents = []
    for order in itertools.permutations(colors):
        for spare in ([], [(1, 2, 3)] * 5)[: 1 + (bits > 2)]:
            palette = [*spare, *(colors[one] for one in order), *spare]
            indices = {one: len(spare) + place for place, one in enumerate(order)}
            contents.append(png(lookup(TRUTH, indices), bits, PALETTE, palette))
    for found in decode(classes, png(colored(TRUTH), 8, RGB), *contents):
        np.testing.assert_array_equal(found, TRUTH)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_two_colours_in_a_palette(decode, bits):
    truth = np.where(TRUTH == 1, 2, 1).astype(np.uint8)
    content = png(lookup(truth, {1: 1, 2: 0}), bits, PALETTE, [SKY, CAR])
    np.testing.assert_array_equal(decode(STREET, content)[0], truth)


@pytest.mark.parametrize("classes", [STREET, NO_COLORS])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("palette", ["ramp", "stretched", "unrelated"])
def test_palettes_that_are_grey_ramps_or_of_other_colours_are_read_by_index(decode, classes, bits, palette):
    number = 2**bits
    colors = {
        "ramp": [(i, i, i) for i in range(number)],
        "stretched": [(round(i * 255 / (number - 1)),) * 3 for i in range(number)],
        "unrelated": (UNRELATED * 60)[:number],
    }[palette]
    truth = np.where(TRUTH == VOID, 0, TRUTH)
    np.testing.assert_array_equal(decode(classes, png(truth, bits, PALETTE, colors))[0], truth)


def test_grey_palettes_whose_levels_are_the_ids_in_another_order(decode):
    """Programs that make grey ids smaller write them so: 255, void, has index 0 here."""
    for order in itertools.permutations((0, 1, 2, VOID)):
        if order == (0, 1, 2, VOID):
            continue  # a ramp but for the last entry; the next test has it
        indices = {one: place for place, one in enumerate(order)}
        content = png(lookup(TRUTH, indices), 2, PALETTE, [(one,) * 3 for one in order])
        np.testing.assert_array_equal(decode(NO_COLORS, content)[0], TRUTH)
        np.testing.assert_array_equal(decode(STREET, content)[0], TRUTH)


def test_grey_palette_of_ids_in_order(decode):
    content = png(lookup(TRUTH, {0: 0, 1: 1, 2: 2, VOID: 3}), 2, PALETTE, [(one,) * 3 for one in (0, 1, 2, VOID)])
    np.testing.assert_array_equal(decode(NO_COLORS, content)[0], TRUTH)


@pytest.mark.parametrize(
    "classes, bits, values",
    [
        (NO_COLORS, 8, {0: 0, 1: 1, 2: 2, VOID: 255}),
        (NO_COLORS, 16, {0: 0, 1: 1, 2: 2, VOID: 255}),
        (NO_COLORS, 16, {0: 0, 1: 257, 2: 514, VOID: 65535}),  # by a program that scales 8 bits to 16
        (WITH_IDS, 8, {0: 7, 1: 26, 2: 3, VOID: 0}),
        ({**WITH_IDS, "void": [9]}, 4, {0: 7, 1: 3, 2: 3, VOID: 9}),
        ({**NO_COLORS, "void": [3]}, 2, {0: 0, 1: 1, 2: 2, VOID: 3}),
    ],
)
def test_grey_of_any_depth_holds_ids(decode, classes, bits, values):
    truth = np.where(TRUTH == 1, 2, TRUTH) if values[1] == values[2] else TRUTH
    if bits == 2:  # 3 of 2 bits is shown as 255, but is void either way
        assert classes["void"] == [3]
    np.testing.assert_array_equal(decode(classes, png(lookup(truth, values), bits))[0], truth)
    both = np.stack([lookup(truth, values), np.full(truth.shape, 2**bits - 1)], -1)
    if bits == 8:
        np.testing.assert_array_equal(decode(classes, png(both, bits, GREY_ALPHA))[0], truth)


def test_grey_of_one_bit_is_a_mask_of_two_ids(decode):
    truth = (TRUTH == 1).astype(np.uint8)
    for classes in (PLAIN, MASKS):
        for content in (png(truth, 1), png(truth, 1, PALETTE, [BLACK, WHITE]), png(truth, 8)):
            np.testing.assert_array_equal(decode(classes, content)[0], truth)


def test_ids_in_three_equal_channels(decode):
    content = png(np.repeat(TRUTH[..., None], 3, 2), 8, RGB)
    np.testing.assert_array_equal(decode(NO_COLORS, content)[0], TRUTH)
    with pytest.raises(SourceError, match="not in the list of classes"):
        decode(STREET, content)  # (1, 1, 1) may as well be a void pixel that an editor changed


@pytest.mark.parametrize("scale", [1, 256, 257])
def test_colours_of_16_bits(decode, scale):
    np.testing.assert_array_equal(decode(STREET, png(colored(TRUTH) * np.uint16(scale), 16, RGB))[0], TRUTH)


def test_colours_of_16_bits_that_8_cannot_hold_are_refused(decode):
    with pytest.raises(ValueError, match="16 bits per channel"):
        decode(STREET, png(colored(TRUTH) * np.uint16(200), 16, RGB))


def test_black_and_white_masks(decode):
    truth = (TRUTH == 1).astype(np.uint8)
    mask = png(truth * 255, 8)
    np.testing.assert_array_equal(decode(MASKS, mask, png(truth, 1))[0], truth)
    for files in ([mask], [mask, png(truth, 1)], [png(np.repeat(truth[..., None], 3, 2) * 255, 8, RGB)]):
        with pytest.raises(SourceError, match="'background' would be the only class.*give the classes.*colours"):
            decode(PLAIN, *files)
        found = decode({**PLAIN, "labels": "ids"}, *files)
        np.testing.assert_array_equal(found[0], np.where(truth, VOID, 0))


def test_a_file_with_0_and_255_beside_one_with_all_ids_is_no_mask(decode):
    files = png(np.where(TRUTH == 1, 255, 0), 8), png(TRUTH, 8)
    np.testing.assert_array_equal(decode(NO_COLORS, *files)[0], np.where(TRUTH == 1, VOID, 0))
    np.testing.assert_array_equal(decode(MASKS, files[0], png(TRUTH % 2, 8))[0], np.where(TRUTH == 1, VOID, 0))


def test_what_a_grey_file_is_depends_on_the_others(decode):
    """All black and of one bit: void of a colour label that was made smaller, or the id 0."""
    black = png(np.zeros((8, 12)), 1)
    for other in (png(colored(TRUTH), 8, RGB), png(TRUTH % 3, 2, PALETTE, [SKY, CAR, ROAD])):
        np.testing.assert_array_equal(decode(STREET, black, other)[0], VOID)
    with pytest.raises(SourceError, match=r"'road' by value, but void by colour.*\"labels\": \"ids\""):
        decode(STREET, black)
    np.testing.assert_array_equal(decode(NO_COLORS, black)[0], 0)
    np.testing.assert_array_equal(decode({**STREET, "labels": "ids"}, black)[0], 0)
    np.testing.assert_array_equal(decode({**STREET, "labels": "colors"}, black)[0], VOID)


AMBIGUOUS = {
    "mixed": (STREET, [png(TRUTH % 3, 8, PALETTE, [SKY, (1, 2, 3), (4, 5, 6)])], "Other colours of its palette"),
    "two kinds": (
        STREET,
        [png(TRUTH % 3, 2, PALETTE, [SKY, CAR, ROAD]), png(TRUTH % 3, 2, PALETTE, UNRELATED[:3])],
        "one of other colours",
    ),
    "white first": (
        PLAIN,
        [png(TRUTH % 2, 1, PALETTE, [WHITE, BLACK])],
        "is 'background' by value, but void by grey level",
    ),
    "all white": (MASKS, [png(np.full((8, 12), 255), 8)], "is void by value, but 'road' by colour"),
    "depths": (NO_COLORS, [png(TRUTH, 8), png(TRUTH % 2, 1)], "value 1, colour .255, 255, 255., is 'car' by value"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_could_be_read_in_two_ways_is_refused(decode, name):
    classes, files, message = AMBIGUOUS[name]
    with pytest.raises(SourceError, match=message) as refused:
        decode(classes, *files)
    assert "PNG with 8 bits" in str(refused.value) or '"labels": "ids"' in str(refused.value)


def test_transparency(decode):
    """As an overlay it says nothing; in places it may mean "not annotated"."""
    opaque = np.concatenate([colored(TRUTH), np.full((8, 12, 1), 255, np.uint8)], -1)
    overlay, holes, blurred, hidden = (opaque.copy() for _ in range(4))
    overlay[..., 3] = 128
    holes[TRUTH == VOID] = (255, 255, 255, 0)
    blurred[TRUTH == VOID, 3] = 77
    hidden[TRUTH == 1, 3] = 0
    for pixels in (opaque, overlay, holes):
        np.testing.assert_array_equal(decode(STREET, png(pixels, 8, RGBA))[0], TRUTH)
    with pytest.raises(SourceError, match="partly transparent"):
        decode(STREET, png(blurred, 8, RGBA))
    with pytest.raises(SourceError, match=r"transparent pixels of colour \(0, 0, 142\), which is a class"):
        decode(STREET, png(hidden, 8, RGBA))
    palette, indices = [BLACK, SKY, CAR, ROAD], lookup(TRUTH, {0: 3, 1: 2, 2: 1, VOID: 0})
    np.testing.assert_array_equal(decode(STREET, png(indices, 8, PALETTE, palette, [0]))[0], TRUTH)
    np.testing.assert_array_equal(decode(STREET, png(indices, 8, PALETTE, [WHITE, *palette[1:]], [0]))[0], TRUTH)
    with pytest.raises(SourceError, match="transparent pixels of value 2"):
        decode(STREET, png(indices, 8, PALETTE, palette, [255, 255, 0]))
    for bits in (4, 8):
        values = lookup(TRUTH, {0: 0, 1: 1, 2: 2, VOID: 9})
        np.testing.assert_array_equal(decode(NO_COLORS, png(values, bits, transparency=9))[0], TRUTH)
        with pytest.raises(SourceError, match="which is a class"):
            decode(NO_COLORS, png(values, bits, transparency=1))


def test_files_that_are_no_png_or_turned_are_refused(tmp_path):
    for name, options in (("a.jpg", {}), ("b.png", {"exif": Image.Exif()})):
        if options:
            options["exif"][0x0112] = 6
        Image.fromarray(TRUTH).save(tmp_path / name, **options)
        with pytest.raises(ValueError, match="JPEG file, whatever its name|turned"):
            read_label((tmp_path / name).rename(tmp_path / "label.png"))


def test_a_photo_is_no_label(decode):
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    with pytest.raises(ValueError, match="colours, as a photo does"):
        decode(STREET, png(noise, 8, RGB))


@pytest.mark.parametrize("value", ["index", 1, None])
def test_labels_in_classes_json_has_two_values(formats, value):
    with pytest.raises(SourceError, match="'labels' says what label files hold"):
        formats({**STREET, "labels": value})
    with pytest.raises(SourceError, match="no class has a 'color'"):
        formats({**PLAIN, "labels": "colors"})


# Fuzz: labels of known content, written in every way that programs write them.

FUZZED = (STREET, WITH_IDS, PLAIN, MASKS, NO_COLORS, {**WITH_IDS, "void": [0, 254]})


def random_label(random, classes):
    """Returns a label file, and what it holds: train ids [H, W]."""
    entries = classes["classes"]
    present = random.permutation([*range(len(entries)), VOID])[: random.integers(1, len(entries) + 2)]
    truth = random.choice(present, (6, 9)).astype(np.uint8)
    ids = {i: entry.get("id", i) for i, entry in enumerate(entries)} | {VOID: 255}
    colors = {i: tuple(entry["color"]) for i, entry in enumerate(entries) if "color" in entry}
    if void := classes.get("void_color"):
        colors[VOID] = tuple(np.reshape(void, (-1, 3))[0].tolist())
    in_color = set(np.unique(truth).tolist()) <= set(colors)
    ways = ["ids", "ramp", "unrelated", "levels", "wrong"] + ["colors", "palette", "deep"] * in_color
    way = random.choice(ways)
    values = lookup(truth, ids)
    if way == "wrong":
        values = np.where(random.random(truth.shape) < 0.1, random.integers(0, 256, truth.shape), values)
        return png(values, 8), None
    if way == "ids":
        depths = [bits for bits in (1, 2, 4, 8, 16) if values.max() < 2**bits]
        bits = random.choice(depths)
        if bits == 8 and random.random() < 0.3:
            return png(np.stack([values, np.full_like(values, 255)], -1), 8, GREY_ALPHA), truth
        return png(values, bits), truth
    if way in ("ramp", "unrelated"):
        bits = 8 if values.max() > 15 else 4
        palette = [(i, i, i) for i in range(2**bits)] if way == "ramp" else (UNRELATED * 52)[: 2**bits]
        return png(values, bits, PALETTE, palette), truth
    if way == "levels":  # made smaller
        order = random.permutation(np.unique(values))
        if len(order) < 3 or (order == np.arange(len(order))).all():
            return png(values, 8), truth
        return png(
            np.argsort(order)[np.searchsorted(np.sort(order), values)], 2, PALETTE, order[:, None].repeat(3, 1)
        ), truth
    if way == "palette":
        order = random.permutation(np.unique(truth))
        places = {int(one): place for place, one in enumerate(order)}
        opacity = [[], [255] * len(order), [128] * len(order)][random.integers(3)] or None
        palette = [colors[int(one)] for one in order]
        bits = random.choice([bits for bits in (1, 2, 4, 8) if len(order) <= 2**bits])
        return png(lookup(truth, places), bits, PALETTE, palette, opacity), truth
    pixels = np.array([colors[one] for one in truth.ravel().tolist()]).reshape(*truth.shape, 3)
    if way == "deep":
        return png(pixels * random.choice([1, 256, 257]), 16, RGB), truth
    if random.random() < 0.5:
        return png(np.concatenate([pixels, np.full((*truth.shape, 1), random.integers(1, 256))], -1), 8, RGBA), truth
    return png(pixels, 8, RGB), truth


def test_fuzzed_labels_are_decoded_as_written_or_refused(decode):
    random = np.random.default_rng(0)
    right = refused = 0
    for number in range(500):
        classes = FUZZED[number % len(FUZZED)]
        content, truth = random_label(random, classes)
        try:
            found = decode(classes, content)[0]
        except (SourceError, ValueError):
            refused += 1
            continue
        right += 1
        black_and_white = classes is MASKS and set(np.unique(truth).tolist()) == {0, VOID}
        if truth is not None and not black_and_white:  # white is the class "road" there, see above
            np.testing.assert_array_equal(found, truth, err_msg=f"file {number} of {classes}")
    assert right > 350 and refused > 30, (right, refused)


def reference(values, shown, classes, is_palette):
    """Returns all that pixels with these values, shown in these colours, may mean."""
    ids = {one.get("id", i): i for i, one in enumerate(classes["classes"])} | {255: VOID}
    ids |= dict.fromkeys(classes.get("void", []), VOID)
    colors = {tuple(one["color"]): i for i, one in enumerate(classes["classes"]) if "color" in one}
    colors |= {tuple(np.ravel(one).tolist()): VOID for one in [classes.get("void_color", ())] if len(one)}
    by_id, by_color = [ids.get(one) for one in values], [colors.get(one) for one in shown]
    by_level = [ids.get(one[0]) if len(set(one)) == 1 else None for one in shown]
    if is_palette and None not in by_color:
        return [by_color]
    return [meaning for meaning in (by_id, by_color, by_level) if None not in meaning]


def test_any_png_means_what_it_may_mean_or_is_refused(decode):
    """Random modes, depths, palettes and values, half of them colours of classes."""
    random = np.random.default_rng(1)
    decoded = 0
    for number in range(500):
        classes = FUZZED[number % len(FUZZED)]
        bits = int(random.choice([1, 2, 4, 8]))
        values = random.integers(0, random.integers(1, 2**bits + 1), (4, 5))
        known = [ROAD, CAR, SKY, BLACK, WHITE, (1, 1, 1), (2, 2, 2), (7, 7, 7)]
        colors = [
            known[i % 8] if i < 8 else tuple(c) for i, c in enumerate(random.integers(0, 256, (2**bits, 3)).tolist())
        ]
        palette = [colors[i] for i in random.permutation(len(colors))] if random.random() < 0.5 else None
        if random.random() < 0.5:
            values = values % min(3, 2**bits)
        level = 255 // (2**bits - 1)
        shown = [palette[v] if palette else (v * level,) * 3 for v in values.ravel().tolist()]
        content = png(values, bits, PALETTE if palette else GREY, palette)
        try:
            found = decode(classes, content)[0].ravel().tolist()
        except (SourceError, ValueError):
            continue
        decoded += 1
        meanings = reference(values.ravel().tolist(), shown, classes, palette is not None)
        assert found in meanings, (number, classes, values, palette)
    assert decoded > 150, decoded
