"""Records of real clips: scores, command, and clips measured earlier."""

import json
import pathlib
import shlex

import pytest

from scripts import video_evidence

VIDEO = {"photometric": 0.07123456, "identity": 0.128, "frames": 18}
LOG = {"step": 600, "disparity/picture_dependence": 0.164}


def test_scores_of_a_clip_without_poses():
    scores = video_evidence.clip_scores(VIDEO, LOG)
    assert scores == {"photometric": 0.0712, "identity": 0.128, "picture_dependence": 0.164}


def test_scores_of_a_clip_with_poses_name_their_units():
    path = {"snippet_error": 0.02, "clip_percent": 0.5}
    video = VIDEO | {"ego_motion": {"direction_error": 1.5}}
    video |= {"trajectory": path | {"straight_ahead": {"snippet_error": 0.01, "clip_percent": 0.25}}}
    scores = video_evidence.clip_scores(video, LOG)
    assert scores["direction_error_degrees"] == 1.5
    assert (scores["path_error_of_5_frames_m"], scores["straight_ahead_error_of_5_frames_m"]) == (0.02, 0.01)
    assert (scores["path_error_of_the_clip_percent"], scores["straight_ahead_error_of_the_clip_percent"]) == (0.5, 0.25)


@pytest.mark.parametrize("name", video_evidence.CLIPS)
def test_command_can_be_pasted(name):
    clip = video_evidence.CLIPS[name]
    words = shlex.split(video_evidence.shell_command(clip, "my data", pathlib.Path("runs", name)))
    assert words[:3] == ["python", "-m", "sdeseg_jax.main"]
    flags = [f"--config={clip.config}", f"--workdir=runs/{name}", "--config.data.data_dir=my data"]
    assert words[3:] == [*flags, *clip.overrides]
    assert not any(" " in word for word in clip.overrides)  # the page breaks long commands at spaces


def test_clips_measured_before_stay(tmp_path):
    file = tmp_path / "video.json"
    video_evidence.write(file, [{"name": "A", "minutes": 1}, {"name": "B", "minutes": 2}])
    video_evidence.write(file, [{"name": "A", "minutes": 3}])
    assert json.loads(file.read_text())["clips"] == [{"name": "A", "minutes": 3}, {"name": "B", "minutes": 2}]
