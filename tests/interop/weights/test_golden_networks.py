"""The four published networks, number by number: weights through the importer, then the forward pass."""

import jax
import numpy as np
import pytest

from sdeseg_jax.commands import import_weights
from sdeseg_jax.interop.weights.published_weights import FOLDER_FILES
from sdeseg_jax.interop.weights.torch_to_flax import convert_state_dict
from sdeseg_jax.training.initialization import load_variables
from tests.interop.torch_writer import save


def through_files(name, state, folder):
    """Variables of weights that were saved with the release's file names and imported by the script."""
    if name == "sde":
        source = folder / "mono"
        source.mkdir()
        for file, prefix in FOLDER_FILES.items():
            part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            save(part, source / file, zipped=file != "pose.pth")
    else:
        source = folder / "best_model_without_opt.pkl"
        save({"epoch": 7, "model_state": state}, source)
    assert import_weights.main([f"--source={source}", f"--output={folder / 'out'}"]) == 0
    return load_variables(folder / "out" / ("depth" if name == "sde" else ""))


@pytest.mark.parametrize("name", ["sde", "mtl", "transfer", "selection"])
def test_forward_agrees_with_the_published_network(published, tmp_path, name):
    golden = np.load(published.golden / f"forward_{name}.npz")
    network, template = published.network(name)
    state = {key: published.tensor(key, shape) for key, shape in published.shapes(name).items()}
    if name in ("sde", "mtl"):
        variables = through_files(name, state, tmp_path)
    else:
        variables, report = convert_state_dict(state, template)
        assert not report.left_initial

    @jax.jit
    def forward(variables, target, previous, following):
        predictions = network.apply(variables, target, False)
        if not network.pose:
            return predictions, None
        pairs = {"-1": (previous, target), "1": (target, following)}
        poses = {frame: network.apply(variables, *pair, False, method="predict_pose") for frame, pair in pairs.items()}
        return predictions, poses

    predictions, poses = forward(variables, golden["image_0"], golden["image_-1"], golden["image_1"])
    outputs = {
        "semantics": predictions.logits,
        "intermediate_semantics": predictions.intermediate_logits,
        "bottleneck": predictions.bottleneck,
        "upconv_3": predictions.decoder_features,
        **{f"disp_{scale}": disparity for scale, disparity in enumerate(predictions.disparities or ())},
    }
    for frame, pose in (poses or {}).items():
        outputs[f"axisangle_{frame}"], outputs[f"translation_{frame}"] = pose.axisangle, pose.translation

    expected = [key for key in golden if not key.startswith(("image_", "cam_T_cam_"))]
    assert expected
    for key in expected:
        # Largest deviation relative to the largest value of the output.
        assert outputs[key].shape == golden[key].shape, key
        error = np.abs(np.asarray(outputs[key]) - golden[key]).max() / np.abs(golden[key]).max()
        assert error < 1e-4, f"{key} deviates by {error:.1e}"
