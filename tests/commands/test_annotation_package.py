"""From a selection to the annotators' folder: images in full size, names, and the files that the tools import."""

import json
import xml.etree.ElementTree

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.commands import annotation_package
from tests.commands.conftest import FILES


@pytest.fixture
def package(own_data, capsys):
    """package(*flags) -> (status, folder, output)."""

    def run(*flags):
        output = own_data.parent / "to annotate"
        selection = own_data.parent / "selection/4"
        status = annotation_package.main(
            [f"--source={own_data}", f"--selection={selection}", f"--output={output}", *flags]
        )
        said = capsys.readouterr()
        return status, output, said.out + said.err

    return run


def test_images_in_full_size_under_names_that_tell_their_labels(package, own_data):
    status, output, said = package()
    assert status == 0 and "4 images" in said and not output.with_name("to annotate.tmp").exists()
    assert {path.name for path in (output / "images").iterdir()} == set(FILES)
    lines = [line.split("\t") for line in (output / "images.txt").read_text().splitlines()]
    assert [tuple(line) for line in lines] == [(f"images/{name}", *names) for name, names in FILES.items()]
    for name in ("park_2.png", "empty_streets_0.png"):
        assert (output / "images" / name).read_bytes() == (own_data / FILES[name][0]).read_bytes()
    with Image.open(output / "images" / "drive_000005.jpg") as image:
        np.testing.assert_allclose(np.asarray(image), np.full((48, 64, 3), 100), atol=4)
    with Image.open(output / "images" / "junction.jpg") as image:  # upright, and tools have nothing to turn
        assert image.size == (48, 64) and image.getexif().get(0x0112, 1) == 1
    with Image.open(output / "contact_sheet.jpg") as sheet:
        assert sheet.width > 2 * 160


def test_images_that_browsers_do_not_show_become_png(package, own_data):
    shown = np.asarray(Image.open(own_data / "clips/park/2.png"))
    for name in ("scan.tif", "page.webp"):
        Image.fromarray(shown).save(own_data / "images" / name, lossless=True)
    lines = "images/scan.tif\tlabels/scan.png\nimages/page.webp\tlabels/page.png\n"
    (own_data.parent / "selection/4/files.txt").write_text(lines)
    _, output, _ = package()
    assert sorted(path.name for path in (output / "images").iterdir()) == ["page.webp", "scan.png"]
    with Image.open(output / "images/scan.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(image, shown)
    assert (output / "images/page.webp").read_bytes() == (own_data / "images/page.webp").read_bytes()


def test_frames_of_videos_can_be_lossless(package):
    _, output, _ = package("--format=png")
    with Image.open(output / "images" / "drive_000005.png") as image:
        assert image.size == (64, 48) and len(np.unique(np.asarray(image))) <= 3


def test_what_the_tools_import(package):
    _, output, _ = package()
    labels = [("road", "#804080"), ("traffic light", "#faaa1e"), ("sky", None), ("void", "#ffffff")]
    root = xml.etree.ElementTree.parse(output / "label_studio/config.xml").getroot()
    assert root.find("Image").get("value") == "$image"
    for control in ("BrushLabels", "PolygonLabels"):
        assert root.find(control).get("toName") == root.find("Image").get("name")
        found = [(one.get("value"), one.get("background")) for one in root.find(control)]
        assert [(name, color if name != "sky" else None) for name, color in found] == labels
    cvat = json.loads((output / "cvat/labels.json").read_text())
    assert [one["name"] for one in cvat] == [name for name, _ in labels]
    assert all(one["attributes"] == [] and one["type"] == "any" for one in cvat) and cvat[0]["color"] == "#804080"
    assert (output / "cvat/images.txt").read_text().split() == [f"images/{name}" for name in FILES]
    tasks = json.loads((output / "label_studio/tasks.json").read_text())
    prefix = "/data/local-files/?d=to%20annotate/images/"
    assert [one["data"]["image"] for one in tasks] == [prefix + name for name in FILES]


def test_images_of_a_server(package):
    _, output, said = package("--url=https://server/images")
    tasks = json.loads((output / "label_studio/tasks.json").read_text())
    assert tasks[0]["data"]["image"] == "https://server/images/drive_000005.jpg" and "LOCAL_FILES" not in said


def test_without_classes_there_are_images_alone(package, own_data):
    (own_data / "classes.json").unlink()
    status, output, said = package()
    assert status == 0 and "no labels for the tools" in said
    assert not (output / "label_studio/config.xml").exists() and not (output / "cvat/labels.json").exists()
    assert len(json.loads((output / "label_studio/tasks.json").read_text())) == 4


def test_names_with_signs_and_a_class_as_white_as_void(package, own_data):
    classes = [{"name": 'a "b" & <c>', "color": [255, 255, 255]}]
    (own_data / "classes.json").write_text(json.dumps({"classes": classes}))
    _, output, _ = package()
    labels = xml.etree.ElementTree.parse(output / "label_studio/config.xml").getroot().find("BrushLabels")
    assert [one.get("value") for one in labels] == ['a "b" & <c>', "void"]
    assert [one.get("background") for one in labels] == ["#ffffff", "#fefefe"]


WRONG_LINES = (
    "clips/drive.mp4, frame 5\tlabels/drive_5.png\nclips/park/1.png\tlabels/park/2.png\n"
    "clips/park/0.png\tlabels/park/0.png\nclips/park/0.png\tlabels/park/0.png\n"
)
WRONG_LINE_2 = "line 2: 'labels/park/2.png' is the label of clips/park/2.png, not of clips/park/1.png"
UNKNOWN_LABEL = "'labels/drive_5.png'; did you mean 'labels/drive_000005.png'?"


@pytest.mark.parametrize(
    "lines, problems",
    [
        ("", ["is empty"]),
        ("drive_000005\n", ["has no file names"]),
        (WRONG_LINES, ["line 1", UNKNOWN_LABEL, WRONG_LINE_2, "line 4", "twice"]),
    ],
)
def test_selections_that_do_not_fit_the_folder(package, own_data, lines, problems):
    (own_data.parent / "selection/4/files.txt").write_text(lines)
    status, output, said = package()
    assert status == 2 and not output.exists() and all(problem in said for problem in problems), said


def test_broken_images_are_all_named(package, own_data):
    for name in ("park/2.png", "empty streets/0.png"):
        (own_data / "clips" / name).write_bytes(b"\x89PNG")
    status, output, said = package()
    assert status == 2 and "clips/park/2.png cannot" in said and "clips/empty streets/0.png cannot" in said
    assert list(output.parent.glob("to annotate*")) == []


def test_names_that_tools_would_confuse(package, own_data):
    (own_data / "clips/empty_streets").mkdir()
    Image.new("RGB", (64, 48)).save(own_data / "clips/empty_streets/0.png")
    status, _, said = package()
    assert status == 2 and "clips/empty streets/0.png and clips/empty_streets/0.png have the same name" in said


def test_a_label_that_could_be_of_two_images(package, own_data):
    Image.new("RGB", (64, 48)).save(own_data / "images/2.png")
    with (own_data.parent / "selection/4/files.txt").open("a") as file:
        file.write("images/2.png\tlabels/2.png\n")
    status, _, said = package()
    assert status == 2 and "'labels/2.png' could be of images/2.png or clips/" in said


def test_an_output_that_is_not_empty_is_kept(package, own_data):
    (own_data.parent / "to annotate").mkdir()
    (own_data.parent / "to annotate/work.txt").write_text("done")
    status, output, said = package()
    assert status == 2 and "not empty" in said and [path.name for path in output.iterdir()] == ["work.txt"]


def test_nothing_beside_the_output_is_touched(package, own_data):
    beside = own_data.parent / "to annotate.tmp"
    beside.mkdir()
    (beside / "precious.txt").write_text("mine")
    status, output, _ = package()
    assert status == 0 and (beside / "precious.txt").read_text() == "mine"
    assert {path.name for path in output.parent.glob("to annotate*")} == {"to annotate", "to annotate.tmp"}


def test_images_of_16_bits_are_shown_as_they_are_read(package, own_data):
    """Tools would show 12-bit values nearly black."""
    Image.fromarray(np.full((48, 64), 3000, np.uint16)).save(own_data / "clips/park/2.png")
    _, output, _ = package()
    with Image.open(output / "images/park_2.png") as image:
        assert image.mode == "RGB" and image.getpixel((0, 0)) == (187, 187, 187)
