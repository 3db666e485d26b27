"""Own data: clips of images and videos, labels by id and colour, cameras, splits, strides, and messages."""

import pathlib
import re

import av
import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.data.builders.camera_json import read_camera
from sdeseg_jax.data.builders.classes_json import read_classes
from sdeseg_jax.data.builders.folder import Folder, FolderConfig, default_size
from sdeseg_jax.data.builders.source_errors import SourceError
from sdeseg_jax.data.classes import ClassMap
from sdeseg_jax.data.frame_dataset import FrameDataset
from tests.data.builders.own_folder import CAMERA


def write_video(path: pathlib.Path, count: int, size=(64, 32), first=0):
    """A video whose frame i has brightness 10 (first + i)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(first, first + count):
            pixels = np.full((size[1], size[0], 3), 10 * i, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")))
        file.mux(stream.encode())


def frames_of(scan, split="train"):
    return {frame.id: frame for clip in scan.splits[split] for frame in clip.frames}


@pytest.fixture(scope="module")
def source(folder, blocks):
    """Clips of images and of video, single images, labels by id, palette index and colour."""
    label = blocks((0, 7, 9, 255))[0]
    tree = folder({"city": 11, "empty streets": 2}, ["one.jpg", "two.JPEG"], validation="# held out\n\ncity\r\n two \n")
    for name, value in (("drive_a", 0), ("drive_b", 10)):
        tree.image(f"clips/drive/{name}.JPG", value)
    write_video(tree.root / "clips" / "Ride.MP4", 6)
    tree.text("clips/Ride.camera.json", {"field_of_view": 90})
    tree.text("clips/drive/camera.json", {**CAMERA, "fx": 100})
    tree.label("labels/city/0.png", label)
    tree.palette_label("labels/Ride_000004.png", label)
    colors = np.zeros((256, 4), np.uint8)
    colors[[0, 7]] = (128, 64, 128, 255), (70, 130, 180, 255)
    tree.label("labels/one.PNG", colors[label])
    tree.label("labels/Ride_00005.png", label)
    tree.label("labels/citty/1.png", label)
    tree.image("labels/two.jpg")
    tree.text("clips/notes.txt", "sunny")
    for name in ("clips", "clips/city", "images", "labels"):
        tree.clutter(name)
        tree.text(f"{name}/.hidden/x.png", "")
    (tree.root / "clips" / "README.txt").unlink()
    return tree


@pytest.fixture(scope="module")
def builder(source, prepare):
    return prepare(source, name="my_city")


def test_clips_and_splits(builder):
    assert builder.builder_config.name == "my_city_32x16"
    assert builder.info.metadata["clips"] == {
        "train": [
            ["Ride", [f"Ride_{i:06d}" for i in range(6)]],
            ["drive", ["drive_a", "drive_b"]],
            ["empty streets", ["empty streets_0", "empty streets_1"]],
            ["one", ["one"]],
        ],
        "validation": [["city", [f"city_{i}" for i in range(11)]], ["two", ["two"]]],
    }
    train = FrameDataset(builder, "train").index
    assert [train.ids[i] for i in train.with_neighbours] == [f"Ride_{i:06d}" for i in range(1, 5)]
    assert [train.ids[i] for i in train.labeled] == ["Ride_000004", "one"]
    assert builder.info.metadata["labeled"]["validation"] == [0] and not any(builder.info.metadata["context"].values())


def test_images_are_in_natural_order_and_those_of_videos_exact(builder, read):
    for split, clip, count in (("train", "Ride", 6), ("validation", "city", 11)):
        frames = [record for record in read(builder, split).values() if record["clip"].decode() == clip]
        assert [record["frame"] for record in frames] == list(range(count))
        for i, record in enumerate(frames):
            np.testing.assert_allclose(record["image"], 10 * i, atol=4)


def test_labels_by_id_index_and_colour(builder, read, blocks):
    small = blocks((0, 7, 9, 255))[1]
    expected = np.select([small == 0, small == 7], [0, 1], 255)
    train, validation = read(builder, "train"), read(builder, "validation")
    for record in (train["Ride_000004"], train["one"], validation["city_0"]):
        np.testing.assert_array_equal(record["label"][..., 0], expected)
    for record in (train["Ride_000003"], validation["city_1"], validation["two"]):
        np.testing.assert_array_equal(record["label"], 255)
    classes = ClassMap.from_json(builder.info.metadata["classes"])
    assert classes == ClassMap("my_city-2", ("road", "sky"), ((128, 64, 128), (70, 130, 180)))


def test_cameras(builder, read, resized):
    train, validation = read(builder, "train"), read(builder, "validation")
    principal_point = resized(30.5, 64, 32), resized(15.5, 32, 16)
    cases = (validation["city_3"], 25, 30), (train["drive_b"], 50, 30), (train["Ride_000002"], 16, 16)
    for record, fx, fy in cases:
        u, v = (15.5, 7.5) if fx == 16 else principal_point  # fx: 90 degrees over 32 pixels
        np.testing.assert_allclose(record["intrinsics"], [[fx, 0, u], [0, fy, v], [0, 0, 1]], rtol=1e-6)
    assert np.isnan(train["one"]["intrinsics"]).all()


def test_report(builder, source):
    found, root = builder.info.metadata["found"], source.root
    assert found["notes"] == [
        f"{root}/clips/notes.txt is neither a folder nor a video; it is not used",
        f"{root}: 2 files are not used because of their type (2 .txt), e.g. clips/city/README.txt; convert images to "
        "one of .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff, .ppm, .pgm, .pnm, .jpe, .jfif",
        f"{root}/labels: 1 files are not used because they are not PNG, e.g. two.jpg; JPEG blurs class borders",
        f"{root}/labels: 2 labels have no image and are not used: Ride_00005, citty/1; did you mean 'Ride_000005'?",
    ]
    train = found["splits"]["train"]
    assert (train["images"], train["labels"], train["clips"], train["without_neighbours"]) == (11, 2, 4, 7)


def test_clips_without_labels(folder, prepare, read):
    builder = prepare(folder({"a": 3}, classes=None))
    assert builder.builder_config.name == "32x16" and builder.info.metadata["classes"] is None
    assert "label" not in builder.info.features and builder.info.metadata["labeled"]["train"] == []
    assert list(read(builder, "train")) == ["a_0", "a_1", "a_2"]
    assert builder.info.metadata["found"]["notes"] == ["no split 'validation', see validation.txt"]


def test_images_and_labels_without_clips(folder, prepare, read):
    """Needs no camera; here everything is held out, to evaluate a network that was trained on something else."""
    tree = folder(images=["a.png", "b.png"], camera=None, validation="a\nb")
    tree.label("labels/a.png", np.full((32, 64), 7, np.uint8))
    builder = prepare(tree)
    records = read(builder, "validation")
    assert (records["a"]["label"] == 1).all() and (records["b"]["label"] == 255).all()
    assert list(builder.info.splits) == ["validation"]


def test_unknown_colours_are_named(folder, prepare):
    tree = folder(images=["a.png"])
    tree.label("labels/a.png", np.full((32, 64, 3), (1, 2, 3), np.uint8))
    with pytest.raises(SourceError, match=re.escape("labels/a.png: holds class ids") + r".*\[\(1, 2, 3\)\]"):
        prepare(tree)


def test_photos_of_a_phone_are_turned(folder, prepare, read):
    upright = np.zeros((64, 32, 3), np.uint8)
    upright[:32] = 255
    tree, exif = folder(images=["a.jpg"], camera={"field_of_view": 90}), Image.Exif()
    exif[0x0112] = 6  # to be shown, turn it by 90 degrees clockwise
    for name in ("images/a", "clips/v/0", "clips/v/1", "clips/v/2"):
        path = tree.root / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rot90(upright)).save(path, exif=exif)
    labels = np.where(upright[..., 0], 7, 0).astype(np.uint8)
    tree.label("labels/a.png", labels)
    builder = prepare(tree, (0, 0))
    assert builder.builder_config.name == "32x64"
    records = read(builder, "train")
    np.testing.assert_allclose(records["a"]["image"], upright, atol=2)
    np.testing.assert_array_equal(records["a"]["label"][..., 0], labels // 7)
    np.testing.assert_allclose(records["v_1"]["intrinsics"], [[16, 0, 15.5], [0, 16, 31.5], [0, 0, 1]])


def test_default_size():
    assert default_size((1920, 1080)) == (1024, 576) and default_size((2048, 1024)) == (1024, 512)
    assert default_size((640, 480)) == (640, 480) and default_size((100, 20)) == (96, 32)
    assert default_size((1080, 1920)) == (576, 1024) and default_size((20, 3000)) == (32, 1024)


def test_default_size_is_that_of_the_first_readable_image(folder, prepare):
    tree = folder(camera={"field_of_view": 90})
    tree.text("clips/a.mp4", "no video")
    write_video(tree.root / "clips" / "b.mp4", 3, (128, 96))
    builder = prepare(tree, (0, 0), name="x", on_corrupt="skip")
    assert builder.builder_config.name == "x_128x96" and builder.info.features["image"].shape == (96, 128, 3)
    assert "clips/a.mp4: cannot be read as a video" in builder.info.metadata["found"]["notes"][0]


def test_videos_that_are_cut_off(folder, prepare):
    tree = folder()
    path = tree.root / "clips" / "a.mp4"
    write_video(path, 12)
    path.write_bytes(path.read_bytes()[:-40])  # frames of one brightness are of few bytes
    with pytest.raises(SourceError, match=r"a.mp4, frame \d+: cannot be decoded.*\n.*--on_corrupt=skip"):
        prepare(tree)
    builder = prepare(tree, on_corrupt="skip")
    ((_, kept),) = builder.info.metadata["clips"]["train"]
    skipped = builder.info.metadata["found"]["splits"]["train"]["skipped"]
    assert kept == [f"a_{i:06d}" for i in range(len(kept))] and 3 < len(kept) < 12 == len(kept) + len(skipped)
    tree.text("clips/a.mp4", "no video")
    tree.image("images/a.png")
    with pytest.raises(SourceError, match=r"a.mp4: cannot be read as a video \(.*\)\n.*--on_corrupt=skip"):
        prepare(tree)


def test_options(folder):
    root = str(folder({"a": 3}).root)
    assert FolderConfig(source=root, width=64, height=32, stride=3, name="x").name == "x_64x32_stride3"
    assert FolderConfig(source=root, width=64, height=32).name == "64x32"
    for stride in (0, -1):
        with pytest.raises(SourceError, match=f"stride should be positive, not {stride}"):
            FolderConfig(stride=stride)
    with pytest.raises(SourceError, match="not 'a/b'"):
        FolderConfig(name="a/b")
    with pytest.raises(SourceError, match="name the folder of your data"):
        Folder(config=FolderConfig(), data_dir="unused")


def test_stride_of_a_prepared_dataset(folder, prepare, read):
    tree = folder({"a": 7})
    write_video(tree.root / "clips" / "v.mp4", 9, first=3)
    tree.label("labels/v_000005.png", np.full((32, 64), 7, np.uint8))
    builder = prepare(tree, stride=3)
    assert builder.builder_config.name == "32x16_stride3"
    assert builder.info.metadata["clips"]["train"] == [
        ["a", ["a_0", "a_3", "a_6"]],
        ["v", ["v_000000", "v_000003", "v_000006"]],
        ["v_000002", ["v_000002", "v_000005", "v_000008"]],
    ]
    index = FrameDataset(builder, "train").index
    assert [index.ids[i] for i in index.with_neighbours] == ["a_3", "v_000003", "v_000005"]
    assert [index.ids[i] for i in np.flatnonzero(index.is_context)] == ["v_000002", "v_000008"]
    for name, record in read(builder, "train").items():
        np.testing.assert_allclose(record["image"], 10 * (int(name[2:]) + 3 * (name[0] == "v")), atol=4)


def test_a_label_that_may_be_of_several_images(folder, find):
    tree = folder({"a": 3, "b": 3}, ["2.png"])
    tree.label("labels/b/0.png", np.zeros((32, 64), np.uint8))
    scan = find(tree)
    assert [name for name, frame in frames_of(scan).items() if frame.label] == ["b_0"]
    tree.label("labels/1.png", np.zeros((32, 64), np.uint8))
    with pytest.raises(
        SourceError, match=r"1.png may belong to several images: clips/a, clips/b .*labels/<clip>/1.png"
    ):
        find(tree)
    (tree.root / "labels" / "1.png").rename(tree.root / "labels" / "2.png")
    with pytest.raises(SourceError, match=r"clips/a, clips/b, images each have a 2"):
        find(tree)


def test_two_labels_of_an_image_and_labels_of_none(folder, find):
    tree = folder({"a": 3})
    for value, name in enumerate(("labels/a/0.png", "labels/0.png")):
        tree.label(name, np.full((32, 64), 7 * value, np.uint8))
    with pytest.raises(SourceError, match=r"labels/0.png and .*labels/a/0.png belong to the same image and differ"):
        find(tree)
    tree.label("labels/a/0.png", np.full((32, 64), 7, np.uint8))
    scan = find(tree)
    assert [name for name, frame in frames_of(scan).items() if frame.label] == ["a_0"]
    assert "1 labels are there twice with the same content, e.g. " in scan.notes[0]
    tree = folder({"a": 3})
    tree.label("labels/a/00.png", np.zeros((32, 64), np.uint8))
    with pytest.raises(
        SourceError, match=r"(?s)1 labels have no image and are not used: a/00; did you mean 'a/0'\?.*drive_000123"
    ):
        find(tree)


def test_two_of_a_name(folder, find):
    tree = folder({"a": 3})
    tree.text("clips/a.mov", "")
    with pytest.raises(SourceError, match="clips/a and .*clips/a.mov are both clip 'a'"):
        find(tree)
    tree = folder({"a": 3})
    tree.image("clips/a/2.jpg")
    with pytest.raises(SourceError, match=r"clips/a/2.\w+ and 2.\w+ differ only in suffix"):
        find(tree)
    tree = folder({"a": 3})
    for name in ("clips/a/camera.json", "clips/a.camera.json"):
        tree.text(name, CAMERA)
    with pytest.raises(SourceError, match="are cameras of the same clip"):
        find(tree)


def test_one_id_of_two_images(folder, prepare):
    with pytest.raises(SourceError, match="1 frame ids belong to two files each, e.g. 'a_1'"):
        prepare(folder({"a": 3}, ["a_1.png"]))


def test_folders_without_images(folder, find):
    with pytest.raises(SourceError, match=r"(?s)holds no clips and no images.*clips/<name>.mp4.*Found in.*camera.json"):
        find(folder())
    tree = folder({"a": 3})
    tree.clutter("clips/b")
    with pytest.raises(SourceError, match=r"clips/b holds no image, but 1 .txt; .* \(.png, .jpg,"):
        find(tree)
    tree = folder({"a": 3})
    tree.image("clips/0.png")
    with pytest.raises(SourceError, match=r"clips/0.png belongs to no clip.*clips/<name>/"):
        find(tree)


def test_unknown_names(folder, find):
    with pytest.raises(SourceError, match="validation.txt: clip or image 'citty' does not exist; did you mean 'city'?"):
        find(folder({"city": 3}, validation="citty"))
    tree = folder({"city": 3})
    tree.text("clips/citty.camera.json", CAMERA)
    with pytest.raises(SourceError, match="clip 'citty' does not exist; did you mean 'city'?"):
        find(tree)


def test_files_that_are_missing(folder, find):
    with pytest.raises(SourceError, match=r"(?s)camera.json is missing.*clips/a .*field_of_view.*dashcam"):
        find(folder({"a": 3}, camera=None))
    assert frames_of(find(folder({"a": 2}, camera=None)))["a_1"].camera is None
    tree = folder({"a": 3}, classes=None)
    tree.label("labels/a_0.png", np.zeros((32, 64), np.uint8))
    with pytest.raises(SourceError, match=r'(?s)classes.json is missing: .*labels needs classes.*"classes": \['):
        find(tree)


def test_examples_in_messages_are_valid(tmp_path, folder, find):
    messages = []
    tree = folder({"a": 3}, classes=None, camera=None)
    for _ in ("camera", "classes"):
        with pytest.raises(SourceError) as error:
            find(tree)
        messages += re.findall(r"^ {4}(\{\"f.*\}|\{\n(?:.|\n)*\n {4}\})$", str(error.value), re.MULTILINE)
        tree.text("camera.json", CAMERA)
        tree.label("labels/0.png", np.zeros((32, 64), np.uint8))
    angle, pixels, classes = (tmp_path / str(i) for i in range(3))
    for path, text in zip((angle, pixels, classes), messages, strict=True):
        path.write_text(text)
    for path in (angle, pixels):
        assert read_camera(path, lambda: (1920, 1080)).width == 1920
    assert read_classes(classes, "x")[0].names == ("road", "car")


def test_a_camera_of_images_of_another_shape(folder, prepare):
    with pytest.raises(SourceError, match="a/0.png: the intrinsics are for images of 64x48"):
        prepare(folder({"a": 3}, camera={**CAMERA, "height": 48, "cy": 23.5}))
