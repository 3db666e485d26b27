"""Images and videos as users name them, and video files written and read."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from sdeseg_jax.config import UserError
from sdeseg_jax.data import prediction_inputs as media_module
from sdeseg_jax.data.prediction_inputs import estimate_frames, read_frames
from sdeseg_jax.data.video_files import VideoWriter, frame_rate


def find_media(inputs, results=""):
    return media_module.find_media(inputs, results)[0]


SCENE = np.zeros((48, 64, 3), np.uint8)
SCENE[:24], SCENE[24:, :32] = (200, 30, 30), (30, 30, 200)


def write_video(path, frames=5):
    """Writes a video of the scene, a little brighter in every frame."""
    with VideoWriter(path, Fraction(10)) as writer:
        for number in range(frames):
            writer.write(np.clip(SCENE.astype(int) + 10 * number, 0, 255).astype(np.uint8))
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trip" / "day 2").mkdir(parents=True)
    for name in ("trip/10.jpg", "trip/9.png", "trip/day 2/9.png", "trip/.hidden.png"):
        Image.fromarray(SCENE).save(tmp_path / name)
    write_video(tmp_path / "trip" / "drive.mp4")
    (tmp_path / "trip" / "notes.txt").write_text("nothing")
    return tmp_path / "trip"


def test_folders_are_searched_in_natural_order(folder):
    media = find_media([str(folder)])
    assert [one.name for one in media] == ["9", "10", "day 2/9", "drive"]
    assert [one.is_video for one in media] == [False, False, False, True]
    assert estimate_frames(media) == 3 + 5
    assert media[-1].frame_name(3) == "drive/000003"


def test_a_file_named_twice_is_read_once_and_predictions_are_not_read(folder):
    (folder / "out" / "labels").mkdir(parents=True)
    Image.fromarray(SCENE).save(folder / "out" / "labels" / "9.png")
    (folder / "out" / "predictions.json").touch()
    media = find_media([str(folder), str(folder / "9.png")], results="predictions.json")
    assert [one.name for one in media] == ["9", "10", "day 2/9", "drive"]


def test_what_is_left_out_is_counted(folder):
    (folder / "IMG.HEIC").touch()
    assert media_module.find_media([str(folder)])[1] == {".txt": 1, ".heic": 1}


def test_links_into_themselves_end(folder):
    for name in ("a", "b"):
        (folder / name).symlink_to(folder)
    (folder / "day 2" / "up").symlink_to(folder.parent)
    assert [one.name for one in find_media([str(folder)])] == ["9", "10", "day 2/9", "drive"]


def test_names_are_unique(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(SCENE).save(other / "9.png")
    Image.fromarray(SCENE).save(folder / "9.jpg")
    media = find_media([str(folder), str(other)])
    names = [one.name for one in media]
    assert len(set(names)) == len(names) == 6
    assert {"trip/9_png", "9_jpg", "other/9_png", "10", "drive"} <= set(names)


def test_frames_of_a_video_and_images_beside_it_have_other_names(tmp_path):
    write_video(tmp_path / "drive.mp4")
    (tmp_path / "drive").mkdir()
    for name in ("drive/000000.png", "A.png", "a.PNG"):
        Image.fromarray(SCENE).save(tmp_path / name)
    names = [one.name for one in find_media([str(tmp_path)])]
    assert "drive/000000" in names and "drive_mp4" in names
    assert len({name.casefold() for name in names}) == len(names) == 4


def test_a_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video("12:30.mp4")
    (medium,) = find_media(["."])
    assert len(list(read_frames(medium))) == 5 and estimate_frames([medium]) == 5


def test_pixels_keep_their_meaning(tmp_path):
    """16 bits keep the upper 8, transparent pixels are black, other ranges are refused."""
    Image.fromarray(np.full((40, 40), 30_000, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((40, 40), 30_000, np.uint16)).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        (image,) = read_frames(find_media([str(tmp_path / name)])[0])
        assert image.shape == (40, 40, 3) and (image == 30_000 >> 8).all()
    hidden = np.dstack([np.full((40, 40, 3), 200, np.uint8), np.zeros((40, 40), np.uint8)])
    hidden[:20, :, 3] = 255
    Image.fromarray(hidden).save(tmp_path / "clear.png")
    (image,) = read_frames(find_media([str(tmp_path / "clear.png")])[0])
    assert (image[:20] == 200).all() and (image[20:] == 0).all()
    Image.fromarray(np.full((40, 40), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="neither 8 nor 16 bits"):
        list(read_frames(find_media([str(tmp_path / "float.tif")])[0]))


def test_images_are_read_as_they_are_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # taken upright: to be turned to the right
    Image.fromarray(SCENE).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    Image.fromarray(SCENE[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([SCENE, SCENE[..., :1]])).save(tmp_path / "clear.png")
    for name, shape in (("phone.jpg", (64, 48, 3)), ("grey.png", (48, 64, 3)), ("clear.png", (48, 64, 3))):
        (image,) = read_frames(find_media([str(tmp_path / name)])[0])
        assert image.shape == shape and image.dtype == np.uint8
    (turned,) = read_frames(find_media([str(tmp_path / "phone.jpg")])[0])
    np.testing.assert_allclose(turned[32, 40], SCENE[5, 5], atol=12)  # the upper half is to the right


def test_videos_come_back(tmp_path):
    path = write_video(tmp_path / "made" / "v.mp4")
    frames = list(read_frames(find_media([str(path)])[0]))
    assert len(frames) == 5 and frame_rate(str(path)) == 10
    for number, frame in enumerate(frames):
        wanted = np.clip(SCENE.astype(int) + 10 * number, 0, 255)
        assert np.abs(frame.astype(int) - wanted).mean() < 6
    assert not list(path.parent.glob("*.tmp"))


def test_an_unfinished_video_is_not_left(tmp_path):
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "v.mp4", Fraction(10)) as writer:
        writer.write(SCENE)
        raise RuntimeError
    with VideoWriter(tmp_path / "empty.mp4", Fraction(10)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_broken_files_say_so(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "text.png").write_text("no image")
    whole = write_video(tmp_path / "whole.mp4", 60).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name, message in (("text.mp4", "as a video"), ("text.png", "cannot be decoded"), ("cut.mp4", "cannot be read")):
        with pytest.raises(ValueError, match=message):
            list(read_frames(find_media([str(tmp_path / name)])[0]))


def test_nothing_to_read_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("")
    with pytest.raises(UserError, match="--input is missing"):
        find_media([])
    with pytest.raises(UserError) as refused:
        find_media([str(tmp_path / one) for one in ("empty", "list.csv", "absent.png")])
    for text in ("empty: holds neither", "list.csv: is neither an image", "absent.png: does not exist"):
        assert text in str(refused.value)
