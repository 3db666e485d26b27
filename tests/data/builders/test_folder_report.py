"""What is not used of own data, or not as it is, and that the report says so."""

import numpy as np
import pytest

from sdeseg_jax.data.builders.problems import SourceError
from sdeseg_jax.data.frames import FrameDataset
from sdeseg_jax.data.preparation import report_text


def test_labels_of_another_size_and_broken_ones(folder, prepare, read):
    """A label exported at half size is an error; skipped, it does not cut the video."""
    tree = folder({"a": 5})
    tree.label("labels/1.png", np.full((16, 32), 7, np.uint8))
    tree.text("labels/2.png", "no image")
    tree.label("labels/3.png", np.full((32, 64), 7, np.uint8))
    message = r"labels/1.png: 32x16, but its image is 64x32\nA label has the size of its image.*--on_corrupt=skip"
    with pytest.raises(SourceError, match=message):
        prepare(tree)
    builder = prepare(tree, on_corrupt="skip")
    assert builder.info.metadata["clips"]["train"] == [["a", [f"a_{i}" for i in range(5)]]]
    index = FrameDataset(builder, "train").index
    assert index.labeled.tolist() == [3] and index.with_neighbours.tolist() == [1, 2, 3]
    labels = [np.unique(record["label"]).tolist() for record in read(builder, "train").values()]
    assert labels == [[255], [255], [255], [1], [255]]
    report = report_text(builder.info.metadata["found"])
    assert "5 images of 1 clip, 1 with a label" in report
    for kind, file in (("label size", "1.png: 32x16, but"), ("corrupt label", "2.png: cannot be decoded")):
        assert f"labels left out, their images kept ({kind}): 1\n    {tree.root}/labels/{file}" in report
    (tree.root / "labels" / "1.png").unlink()
    with pytest.raises(
        SourceError, match=r"labels/2.png: cannot be decoded .*\n.* such labels out, but not their frames"
    ):
        prepare(tree)
