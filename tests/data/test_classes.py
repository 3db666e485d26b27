"""Class maps and protocols."""

import numpy as np
import pytest

from sdeseg_jax.data.classes import CAMVID, CITYSCAPES, PROTOCOLS, SYNTHIA_13, SYNTHIA_16, VOID, ClassMap


def test_protocols_have_the_classes_of_the_papers():
    assert [len(PROTOCOLS[name]) for name in ("cityscapes-19", "synthia-16", "synthia-13", "camvid-11")] == [
        19,
        16,
        13,
        11,
    ]
    assert set(CITYSCAPES.names) - set(SYNTHIA_16.names) == {"terrain", "truck", "train"}
    assert set(SYNTHIA_16.names) - set(SYNTHIA_13.names) == {"wall", "fence", "pole"}
    assert SYNTHIA_16.colors[SYNTHIA_16.names.index("bicycle")] == CITYSCAPES.colors[18]
    assert CAMVID.names[3] == "road" and CAMVID.colors[3] == (128, 64, 128)


def test_labels_of_one_protocol_are_read_in_another():
    table = SYNTHIA_16.train_ids(CITYSCAPES)
    for i, name in enumerate(CITYSCAPES.names):
        assert table[i] == (SYNTHIA_16.names.index(name) if name in SYNTHIA_16.names else VOID)
    assert np.all(table[19:] == VOID)
    np.testing.assert_array_equal(CITYSCAPES.train_ids(CITYSCAPES)[:19], np.arange(19))


def test_protocols_with_classes_that_are_not_labelled():
    with pytest.raises(
        ValueError, match=r"protocol cityscapes-19 has classes that synthia-16 .*\['terrain', 'truck', 'train'\]"
    ):
        CITYSCAPES.train_ids(SYNTHIA_16)
    assert CITYSCAPES.includes(SYNTHIA_13) and not SYNTHIA_13.includes(SYNTHIA_16)


def test_json_round_trip_and_double_names():
    assert ClassMap.from_json(CAMVID.to_json()) == CAMVID
    with pytest.raises(ValueError, match="unique"):
        ClassMap("double", ("a", "a"), ((0, 0, 0), (1, 1, 1)))
