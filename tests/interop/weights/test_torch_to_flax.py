"""State dicts that do not fit the network are refused with their keys; missing parts need permission."""

import jax
import numpy as np
import pytest

from sdeseg_jax.interop.weights.torch_parameter_names import translate
from sdeseg_jax.interop.weights.torch_to_flax import convert_state_dict
from sdeseg_jax.models import Network

CONV1 = "models.encoder.encoder.conv1.weight"


@pytest.fixture
def state(published):
    """Zeros under the keys of the SDE network: broadcast, so that they take no memory."""
    return {k: np.broadcast_to(np.float32(0), shape) for k, shape in published.shapes("sde").items()}


def test_every_published_key_is_used_or_known_to_be_unused(published):
    for name in published.names:
        _, template = published.network(name)
        state = {k: np.broadcast_to(np.float32(0), shape) for k, shape in published.shapes(name).items()}
        variables, report = convert_state_dict(state, template)
        assert jax.tree.structure(variables) == jax.tree.structure(template)
        assert len(report.used) == len(jax.tree.leaves(template))
        rest = [key for key in report.unused if not key.endswith("num_batches_tracked")]
        # Disparity heads of the segmentation decoder, and the blocks below the selection network's head.
        allowed = ("seg_dec.decoder.1", "unet_dec.decoder.1")
        assert all(any(part in key for part in allowed) for key in rest), rest
        assert len(rest) == {"sde": 0, "mtl": 8, "transfer": 8, "selection": 20}[name]


def test_convolutions_change_layout(published, state):
    _, template = published.network("sde")
    state[CONV1] = published.tensor(CONV1, (64, 3, 7, 7))
    variables, _ = convert_state_dict(state, template)
    kernel = variables["params"]["encoder"]["stem"]["conv"]["kernel"]
    assert kernel[1, 2, 0, 5] == state[CONV1][5, 0, 1, 2]


def test_missing_key(published, state):
    del state["models.depth.decoder.5.block.0.conv.bias"]
    with pytest.raises(ValueError, match=r"missing key 'models\.depth\.decoder\.5\.block\.0\.conv\.bias'"):
        convert_state_dict(state, published.network("sde")[1])


def test_unexpected_key_is_told_with_the_nearest_missing_one(published, state):
    state["models.encoder.encoder.conv_1.weight"] = state.pop(CONV1)
    with pytest.raises(
        ValueError, match=r"unexpected key '\S+conv_1\.weight'; did you mean '\S+encoder\.conv1\.weight'"
    ):
        convert_state_dict(state, published.network("sde")[1])


def test_wrong_shape(published, state):
    state[CONV1] = np.zeros((64, 6, 7, 7), np.float32)
    message = r"conv1\.weight' has shape \(64, 6, 7, 7\), but the network's is \(64, 3, 7, 7\)"
    with pytest.raises(ValueError, match=message):
        convert_state_dict(state, published.network("sde")[1])


def test_two_names_of_one_array(published, state):
    key = "models.mtl_decoder.depth_dec.decoder.2.block.0.conv.bias"
    state[key] = state[key.replace("mtl_decoder.depth_dec", "depth")]
    with pytest.raises(ValueError, match="both map to"):
        convert_state_dict(state, published.network("sde")[1])


def test_a_decoder_norm_that_the_network_lacks_is_not_dropped_silently(published):
    network, _ = published.network("selection")
    plain = network.clone(decoder_norm=False)
    template = jax.eval_shape(lambda rng: plain.init(rng, np.zeros((1, 32, 32, 3)), False), jax.random.key(0))
    state = {k: np.broadcast_to(np.float32(0), shape) for k, shape in published.shapes("selection").items()}
    with pytest.raises(ValueError, match="unexpected key 'models.depth.decoder.2.block.1.weight'"):
        convert_state_dict(state, template)


def test_absent_parts_need_permission(published, state):
    network = Network(depth=True, segmentation=True, pose=False)
    template = jax.eval_shape(lambda rng: network.init(rng, np.zeros((1, 32, 32, 3)), False), jax.random.key(0))
    with pytest.raises(ValueError, match="unexpected key 'models.pose"):
        convert_state_dict(state, template)
    _, report = convert_state_dict(state, template, strict=False)
    assert {name.split("/")[1] for name in report.left_initial} == {"segmentation_decoder"}
    assert all(key.startswith("models.pose") or key.endswith("num_batches_tracked") for key in report.unused)
    # A part that is incomplete is still an error.
    del state["models.depth.decoder.14.conv.bias"]
    with pytest.raises(ValueError, match="missing key 'models.depth.decoder.14.conv.bias'"):
        convert_state_dict(state, template, strict=False)


def test_same_name_in_two_networks():
    assert (
        translate("models.segmentation.head.2.weight", False) == "params/segmentation_decoder/heads/classifier/kernel"
    )
    assert translate("models.segmentation.head.2.weight", True) == "params/segmentation_decoder/heads/norm/scale"
    assert translate("models.encoder.encoder.fc.weight", False) is None
