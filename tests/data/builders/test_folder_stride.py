"""Every n-th frame of a video: annotated frames are kept, with neighbours equally far apart."""

import numpy as np

from sdeseg_jax.data.builders.folder import keep_every
from sdeseg_jax.data.builders.scanned_clips import Frame


def numbers(clip):
    """Returns [(place, frame of the video, whether it is context)]."""
    return [(frame.number, frame.video_index, frame.is_context) for frame in clip.frames]


def test_stride_keeps_annotated_frames_with_neighbours_as_far_apart():
    labeled = (0, 4, 7, 11, 14)
    frames = [Frame(f"v_{i}", "v.mp4", label="x" if i in labeled else None, video_index=i) for i in range(15)]
    clips = {clip.name: numbers(clip) for clip in keep_every(4, "v", frames)}
    assert list(clips) == ["v", "v_3", "v_10"]  # forwards
    assert clips == {
        "v": [(0, 0, False), (1, 4, False), (2, 8, False), (3, 12, False)],
        "v_3": [(0, 3, True), (1, 7, False), (2, 11, False)],  # 7 and 11 are 4 apart: neighbours of each other
        "v_10": [(2, 10, True), (3, 14, False)],  # the last: it has no next frame
    }
    assert [numbers(clip) for clip in keep_every(1, "v", frames)] == [[(i, i, False) for i in range(15)]]
    assert [len(clip.frames) for clip in keep_every(20, "v", frames)] == [1, 1, 1, 1, 1]


def test_no_stride_stores_a_frame_twice_or_loses_a_label():
    rng = np.random.default_rng(0)
    for count, stride in ((1, 3), (2, 2), (20, 3), (31, 5), (9, 12)):
        labeled = set(rng.integers(0, count, 5).tolist())
        frames = [Frame(str(i), "v.mp4", label="x" if i in labeled else None, video_index=i) for i in range(count)]
        clips = keep_every(stride, "v", frames)
        stored = [frame for clip in clips for frame in clip.frames]
        assert len({frame.id for frame in stored}) == len(stored)
        targets = {frame.video_index for frame in stored if not frame.is_context}
        assert targets == labeled | set(range(0, count, stride))
        for clip in clips:
            indices = [frame.video_index for frame in clip.frames]
            assert set(np.diff(indices)) <= {stride}
            for i in labeled & set(indices):
                assert all(near in indices for near in (i - stride, i + stride) if 0 <= near < count)
