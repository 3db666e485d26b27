"""Published EfficientNet-Lite0 sees what is in photographs: the encoder's features, and the classifier of its file."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

from sdeseg_jax.interop.weights.efficientnet_lite_weights import convert_efficientnet_lite
from sdeseg_jax.interop.weights.weight_files import read_weight_file
from sdeseg_jax.models.encoders import make_encoder
from sdeseg_jax.models.encoders.weight_sources import weights_of

CATS, ESPRESSO = {281, 282, 285}, {504, 967}
"""Classes of ImageNet: tabby, tiger cat, Egyptian cat; coffee mug, espresso."""


@pytest.fixture(scope="module")
def state():
    package = weights_of("efficientnet_lite0")
    spec = importlib.util.find_spec(package.package)
    if spec is None:
        pytest.skip("needs the extra [pretrained]")
    return read_weight_file(pathlib.Path(spec.submodule_search_locations[0]) / package.file)


def classify(state, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the last feature and the 1000 logits of an image [H, W, 3] in [0, 1]."""
    _, variables, _, _ = convert_efficientnet_lite(state)
    encoder = make_encoder("efficientnet_lite0", output_stride=32)
    features = np.asarray(jax.jit(lambda x: encoder.apply(variables, x, False)[-1])(image[None]))
    x = features @ state["_conv_head.weight"][:, :, 0, 0].T
    x = (x - state["_bn1.running_mean"]) / np.sqrt(state["_bn1.running_var"] + 1e-3)
    x = np.clip(x * state["_bn1.weight"] + state["_bn1.bias"], 0, 6).mean((0, 1, 2))
    return features, state["_fc.weight"] @ x + state["_fc.bias"]


@pytest.mark.parametrize("photo, classes", [("chelsea", CATS), ("coffee", ESPRESSO)])
def test_photographs_are_recognised_as_by_pytorch(state, photo, classes):
    skimage = pytest.importorskip("skimage", reason="ships the photographs")
    image = getattr(skimage.data, photo)()
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    image = image[top : top + side, left : left + side]
    image = np.asarray(jax.image.resize(image / np.float32(255), (224, 224, 3), "bilinear"), np.float32)
    features, logits = classify(state, image)
    assert int(logits.argmax()) in classes
    torch = pytest.importorskip("torch", reason="the oracle")
    port = pytest.importorskip("efficientnet_lite_pytorch", reason="the oracle")
    network = port.EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
    pixels = torch.from_numpy((255 * image[None] - 127) / np.float32(128)).permute(0, 3, 1, 2)
    with torch.no_grad():
        wanted = network(pixels).numpy()[0]
    np.testing.assert_allclose(logits, wanted, atol=1e-5 * np.abs(wanted).max())
