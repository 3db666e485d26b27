"""The segmentation decoder starts as a copy of the depth decoder (section 3.3)."""

import jax
import numpy as np
import pytest

from sdeseg_jax.models import Network, transfer_depth_decoder

SMALL = {"backbone": "resnet10", "width": 0.125, "decoder_channels": (4, 6, 8, 8, 8)}


@pytest.fixture
def variables(random_variables):
    def make(**fields):
        return jax.tree.map(np.copy, random_variables(Network(**SMALL, **fields), (1, 32, 32, 3)))

    return make


@pytest.mark.parametrize("head_level", [0, 1])
@pytest.mark.parametrize("decoder_norm", [False, True])
def test_blocks_are_copied_and_heads_stay(variables, head_level, decoder_norm):
    before = variables(head_level=head_level, decoder_norm=decoder_norm)
    before["batch_stats"] = jax.tree.map(lambda x: x + 1, before["batch_stats"])
    after = transfer_depth_decoder(before)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for collection in ("params", "batch_stats"):
        copied, depth = (
            after[collection]["segmentation_decoder"]["blocks"],
            before[collection]["depth_decoder"]["blocks"],
        )
        assert ("block0" in copied) == (head_level == 0 and (decoder_norm or collection == "params"))
        for block, tree in copied.items():
            jax.tree.map(np.testing.assert_array_equal, tree, depth[block])
        assert after[collection]["encoder"] is before[collection]["encoder"]
    heads = [v["params"]["segmentation_decoder"]["heads"] for v in (before, after)]
    jax.tree.map(np.testing.assert_array_equal, *heads)
    # The input is left alone.
    kernels = [
        v["params"]["segmentation_decoder"]["blocks"]["block2"]["fuse"]["conv"]["kernel"] for v in (before, after)
    ]
    assert np.any(kernels[0] != kernels[1])


def test_decoders_that_do_not_fit(variables):
    both = variables()
    both["params"]["depth_decoder"]["blocks"]["block2"]["fuse"]["conv"]["kernel"] = np.zeros((3, 3, 1, 1))
    with pytest.raises(ValueError, match="'block2/fuse/conv/kernel'.*in the depth decoder"):
        transfer_depth_decoder(both)
    with pytest.raises(ValueError, match="no 'segmentation_decoder'"):
        transfer_depth_decoder(variables(segmentation=False))
