"""Simulated exports of annotation tools become labels that the folder's builder reads; wrong exports are refused."""

import json

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.commands import annotation_package, import_labels
from sdeseg_jax.data.frame_dataset import FrameDataset
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.data.preparation import prepare_from_source
from tests.commands.annotation_exports import (
    COLORS,
    SCENE,
    box,
    coco_json,
    drawn,
    label_studio_json,
    size_of,
    write_cvat_masks,
)
from tests.commands.conftest import CLASSES, FILES


@pytest.fixture
def run(own_data, capsys):
    """run(export, *flags) -> (status, output); an export that is not a path is written as JSON."""

    def call(export, *flags):
        if isinstance(export, dict | list):
            path = own_data.parent / "export.json"
            path.write_text(json.dumps(export))
            export = path
        status = import_labels.main([f"--source={own_data}", f"--export={export}", *flags])
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def labels(own_data):
    """Returns name -> label of all files in labels/."""
    files = {str(path.relative_to(own_data)): path for path in (own_data / "labels").rglob("*") if path.is_file()}
    return {name: np.asarray(Image.open(path)) for name, path in files.items()}


def check(own_data, background=255, scene=SCENE):
    found = labels(own_data)
    assert set(found) == {label for _, label in FILES.values()}
    for name, (_, label) in FILES.items():
        np.testing.assert_array_equal(found[label], drawn(size_of(name), background, scene), err_msg=label)


def test_from_a_package_through_label_studio_to_the_dataset(run, own_data, tmp_path):
    """The builder reads exactly what was drawn, for the chosen frames."""
    package = tmp_path / "to annotate"
    flags = [f"--source={own_data}", f"--selection={tmp_path / 'selection/4'}", f"--output={package}"]
    assert annotation_package.main(flags) == 0
    tasks = json.loads((package / "label_studio/tasks.json").read_text())
    done = label_studio_json([one["data"]["image"].rpartition("/")[2] for one in tasks])
    for task, one in zip(tasks, done, strict=True):
        one["data"] = task["data"]
    status, said = run(done)
    assert status == 0 and "4 labels are written" in said, said
    check(own_data)
    sizes = {"junction.JPG": (64, 48)}
    builder, _ = prepare_from_source("folder", str(own_data), str(tmp_path / "data"), size=(64, 64), processes=1)
    dataset = FrameDataset(builder, "train")
    annotated = dataset.index.labeled
    assert {dataset.files[dataset.index.ids[i]] for i in annotated} == set(FILES.values())
    for batch, count in evaluation_batches(dataset, annotated, 4, ("label",)):
        for i, label in zip(annotated[:count], batch["label"][:count], strict=True):
            height, width = sizes.get(dataset.files[dataset.index.ids[i]][0].rpartition("/")[2], (48, 64))
            expected = drawn((height, width))
            train_ids = np.select([expected == 0, expected == 7, expected == 3], [0, 1, 2], 255)
            resized = Image.fromarray(train_ids.astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)
            np.testing.assert_array_equal(label, np.asarray(resized))


def test_coco(run, own_data):
    status, said = run(coco_json() | {"info": {"contributor": "Label Studio Converter"}})
    assert status == 0 and "annotations in COCO's format: 4 images" in said
    assert 'if you used the brush, export "JSON" instead' in said
    check(own_data)


def test_coco_with_a_background_and_small_shapes_on_top(run, own_data):
    export = coco_json()
    export["annotations"].reverse()
    assert run(export, "--background=traffic light", "--order=area")[0] == 0
    areas = sorted(SCENE, key=lambda one: -box((64, 64), one[1]).sum())
    check(own_data, background=7, scene=areas)
    assert [name for name, _ in areas] != [name for name, _ in SCENE]


def test_segmentation_masks_of_cvat(run, own_data, tmp_path):
    write_cvat_masks(tmp_path / "cvat")
    status, said = run(tmp_path / "cvat", "--background=road")
    assert status == 0 and "masks of CVAT" in said
    check(own_data, background=0)


def test_brush_masks_of_label_studio(run, own_data, tmp_path):
    """They have no order: smaller ones are on top."""
    names = [name for name, _ in SCENE]  # given so that the files are not in order of area
    boxes = sorted((corners for _, corners in SCENE), key=lambda one: -box((64, 64), one).sum())
    scene = list(zip(names[::-1], boxes, strict=True))
    (tmp_path / "png").mkdir()
    for number, name in enumerate(FILES, 11):
        for label, corners in scene:
            mask = box(size_of(name), corners).astype(np.uint8) * 255
            for annotation, values in ((4, 255 - mask), (5, mask)):  # the newest counts
                file = f"task-{number}-annotation-{annotation}-by-me@x.org-my-brush-{label}-0.png"
                Image.fromarray(values).save(tmp_path / "png" / file)
    status, said = run(tmp_path / "png")
    assert status == 2 and "name it with --tasks" in said
    tasks = tmp_path / "tasks.json"
    tasks.write_text(json.dumps([{"id": n, "image": f"/data/upload/1/0a1b2c3d-{f}"} for n, f in enumerate(FILES, 11)]))
    status, said = run(tmp_path / "png", f"--tasks={tasks}")
    assert status == 0 and "4 tasks have several annotations" in said, said
    check(own_data, scene=scene)


def test_png_files_of_ids_and_colours(run, own_data, tmp_path):
    folder = tmp_path / "png"
    (folder / "park").mkdir(parents=True)
    Image.fromarray(drawn((48, 64))).save(folder / "drive_000005.png")
    colors = np.zeros((256, 3), np.uint8)
    colors[[0, 7]] = (128, 64, 128), (250, 170, 30)
    scene = [one for one in SCENE if one[0] != "sky"]  # which has no colour
    Image.fromarray(colors[drawn((48, 64), scene=scene)]).save(folder / "park/2.png")
    assert run(folder)[0] == 0
    found = labels(own_data)
    np.testing.assert_array_equal(found["labels/drive_000005.png"], drawn((48, 64)))
    np.testing.assert_array_equal(found["labels/park/2.png"], drawn((48, 64), scene=scene))
    status, said = run(folder, "--background=road")
    assert status == 2 and "--background has no effect" in said


def test_all_problems_are_reported_together_and_nothing_is_written(run, own_data):
    export = coco_json(folder="")
    export["categories"][0]["name"] = "raod"
    export["images"][1].update(file_name="park_22.png")
    export["images"][2].update(width=96, height=128)
    export["annotations"][12].update(segmentation=[])
    export["annotations"][14].update(segmentation=[[1, 2, 3]])
    status, said = run(export)
    assert status == 2 and not (own_data / "labels").exists()
    for problem in (
        "drive_000005.jpg: annotation 1 and 3 more: class 'raod'",
        "did you mean 'road'?",
        "has no frames with the names of these images: park_22.png; did you mean 'park_2'?",
        "junction.jpg is 96x128, but images/junction.JPG is 48x64",
        "empty_streets_0.png: annotation 12 is a box",
        "empty_streets_0.png: annotation 14 has no valid outline",
    ):
        assert problem in said, said


def test_labels_that_there_are_are_kept(run, own_data):
    path = own_data / "labels/drive/drive_000005.PNG"  # a place that the builder finds, too
    path.parent.mkdir(parents=True)
    Image.fromarray(drawn((48, 64), 7)).save(path)
    status, said = run(coco_json())
    assert status == 2 and "drive_000005.PNG exists and differs; use --overwrite to replace it" in said
    assert set(labels(own_data)) == {"labels/drive/drive_000005.PNG"}
    assert run(coco_json(), "--overwrite")[0] == 0
    np.testing.assert_array_equal(np.asarray(Image.open(path)), drawn((48, 64)))
    assert len(labels(own_data)) == 4
    status, said = run(coco_json())
    assert status == 0 and "0 labels are written; 4 existed already and did not change" in said


def test_images_without_annotation_get_no_label(run, own_data):
    export = label_studio_json()
    export[0].update(annotations=[], data={"image": "of_another_project.jpg"})
    export[1]["annotations"][0]["was_cancelled"] = True
    export[2]["annotations"] += [{"id": 9, "result": []}]
    export[2]["annotations"][0]["ground_truth"] = True
    export[3]["annotations"][0]["result"] += [{"type": "keypointlabels", "value": {"keypointlabels": ["road"]}}]
    status, said = run(export)
    assert status == 0 and "2 images have no annotation" in said and "keypointlabels, which have no area" in said
    assert set(labels(own_data)) == {"labels/junction.png", "labels/empty streets/0.png"}


STRAY_COCO = {
    "two points": {"segmentation": [[1, 2, 3, 4]]},
    "one point": {"segmentation": [[1, 2]]},
    "no point": {"segmentation": [[]]},
    "no outline, no area": {"segmentation": [], "bbox": [3, 4, 0, 0]},
    "a line": {"segmentation": [[1, 2, 30, 2, 15, 2]]},
    "outside": {"segmentation": [[-9, -9, -5, -9, -5, -5]]},
    "empty RLE": {"segmentation": {"size": [48, 64], "counts": [48 * 64]}},
}


@pytest.mark.parametrize("name", STRAY_COCO)
def test_stray_shapes_of_coco_are_left_out_and_counted(run, own_data, name):
    export = coco_json()
    stray = {"id": 77, "image_id": 1, "category_id": 1, **STRAY_COCO[name]}
    export["annotations"] += [stray, stray]
    status, said = run(export)
    assert status == 0 and "2 shapes without area are left out, as stray clicks make them" in said, said
    assert "park_2.png: annotation 77" in said
    check(own_data)


def test_stray_part_of_a_shape_and_an_image_with_stray_shapes_only(run, own_data):
    export = coco_json()
    for one in export["annotations"]:
        if one["image_id"] == 0:
            one["segmentation"] = [[1, 2, 3, 4]]
        elif isinstance(one["segmentation"], list):
            one["segmentation"].append([5, 5, 6, 6])
    status, said = run(export)
    assert status == 0 and "4 shapes without area" in said and "1 images have no annotation" in said, said
    assert set(labels(own_data)) == {label for name, (_, label) in FILES.items() if name != "drive_000005.jpg"}


@pytest.mark.parametrize("value", [{"points": [[1, 2], [3, 4]]}, {"points": []}, {"rle": []}, {"points": [[5, 5]] * 9}])
def test_stray_regions_of_label_studio_are_left_out_and_counted(run, own_data, value):
    export = label_studio_json()
    stray = {"id": "x", "type": "polygonlabels", "value": {"polygonlabels": ["road"], **value}}
    export[1]["annotations"][0]["result"].append(stray)
    status, said = run(export)
    assert status == 0 and "1 shapes without area are left out" in said and "region 5" in said, said
    check(own_data)


def regions(change):
    export = label_studio_json(["park_2.png"])
    for region in export[0]["annotations"][0]["result"]:
        change(region)
    return export


def masks(path):
    path.mkdir()
    Image.fromarray(np.full((48, 64), 5, np.uint8)).save(path / "park_2.png")
    (path / "drive_000005.png").write_bytes(b"\x89PNG")
    return path


def nothing_drawn(path):
    """Polygons smaller than a pixel, which cover no pixel's centre."""
    content = coco_json()
    for one in content["annotations"]:
        one["segmentation"] = [[4.6, 4.6, 4.9, 4.6, 4.9, 4.9]]
    return content


def cvat_masks(path):
    write_cvat_masks(path)
    file = path / "SegmentationClass/park_2.png"
    Image.fromarray(np.full((48, 64, 3), 77, np.uint8)).save(file)
    Image.new("RGB", (32, 32)).resize((32, 32)).save(path / "SegmentationClass/junction.png")
    Image.new("RGB", (32, 32), COLORS["road"]).save(path / "SegmentationClass/drive_000005.png")
    return path


def text(path, content="", name="labelmap.txt"):
    path.mkdir()
    (path / name).write_text(content)
    return path


@pytest.mark.parametrize(
    "make, problem",
    [
        (lambda path: path, "does not exist"),
        (lambda path: text(path, "{", "a.json"), "is not valid JSON"),
        (lambda path: text(path, "1", "a.txt"), "has no annotations. Expected one of"),
        (lambda path: {"images": []}, "has no annotations"),
        (lambda path: {"images": [], "annotations": [], "categories": {}}, "should have a list 'categories'"),
        (lambda path: coco_json() | {"categories": []}, "which is not listed"),
        (lambda path: coco_json() | {"images": [{"id": 0}]}, "which is not listed"),
        (nothing_drawn, "its shapes cover no pixel of any class"),
        (lambda path: [{"id": 1, "image": "a.jpg"}], "not JSON-MIN"),
        (
            lambda path: [{"id": 1, "annotations": [], "data": {"text": "a"}}],
            "task 1 should name one image file, not 0",
        ),
        (lambda path: label_studio_json(["park_2.png"] * 2), "both show clips/park/2.png"),
        (lambda path: regions(lambda one: one.update(image_rotation=90)), "rotated"),
        (lambda path: regions(lambda one: one["value"].pop(one["type"])), "no class; give it one"),
        (lambda path: regions(lambda one: one["value"].update(rle=[1, 2, 3])), "brush mask that is damaged"),
        (
            lambda path: regions(lambda one: one.update(value={one["type"]: ["road"]})),
            "neither a brush mask nor a polygon",
        ),
        (lambda path: text(path, "road:1,2,3::\nsky:1,2,3::\n"), "'road' and 'sky' have the same colour"),
        (lambda path: text(path, "road;1;2;3"), "line 1: expected e.g."),
        (lambda path: text(path, "road:1,2,3::"), "has no PNG files"),
        (masks, "park_2.png: holds class ids that are not in the list of classes: [5]"),
        (masks, "drive_000005.png: cannot be decoded"),
        (cvat_masks, "has the colour (77, 77, 77), which labelmap.txt does not list"),
        (cvat_masks, "drive_000005.png is 32x32, but the image is 64x48"),
    ],
)
def test_wrong_exports_are_refused(run, own_data, tmp_path, make, problem):
    status, said = run(make(tmp_path / "export"))
    assert status == 2 and problem in said and not (own_data / "labels").exists(), said


@pytest.mark.parametrize(
    "flags, classes, problem",
    [
        (["--background=raod"], CLASSES, "classes.json; did you mean 'road'?"),
        ([], {"classes": []}, "'classes' should be a list"),
        ([], None, "classes.json is missing"),
    ],
)
def test_folders_and_flags_that_do_not_fit(run, own_data, flags, classes, problem):
    (own_data / "classes.json").unlink()
    if classes:
        (own_data / "classes.json").write_text(json.dumps(classes))
    status, said = run(coco_json(), *flags)
    assert status == 2 and problem in said, said
