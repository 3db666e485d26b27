"""Published files through `sdeseg import-weights`: torchvision's ResNets, released folders, and what is refused."""

import functools
import json
import pathlib
import re
import sys

import jax
import numpy as np
import pytest

from sdeseg_jax.commands import import_weights
from sdeseg_jax.config import UserError, default_config
from sdeseg_jax.interop.weights.published_weights import FOLDER_FILES, read_published
from sdeseg_jax.interop.weights.torch_parameter_names import keys_for
from sdeseg_jax.models import Network
from sdeseg_jax.runs.workdir import Workdir, check_stage
from sdeseg_jax.training.checkpoints import CheckpointError
from sdeseg_jax.training.initialization import check_init, initialize_from, load_variables
from tests.interop.torch_writer import save, write_safetensors

ROOT = pathlib.Path(__file__).parents[3]
IMAGES = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
SDE = {"segmentation": False, "pose": True}
ENCODER = "models.encoder.encoder."


def run(source, output):
    return import_weights.main([f"--source={source}", f"--output={output}"])


def shapes_of_network(**fields):
    network = Network(**fields)
    return network, jax.eval_shape(functools.partial(network.init, method="init_all"), jax.random.key(0), IMAGES)


def torchvision_state(name, tensor):
    """Keys, shapes and made-up values of one of torchvision's files."""
    _, shapes = shapes_of_network(backbone=name, depth=True, segmentation=False)
    leaves = {
        "/".join(key.key for key in path): leaf.shape for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]
    }
    state = {}
    for path, key in keys_for({path for path in leaves if "/encoder/" in path}, False, False).items():
        shape, key = leaves[path], key.removeprefix(ENCODER)
        state[key] = tensor(key, (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape)
    return {**state, "fc.weight": np.zeros((1000, 8), np.float32), "fc.bias": np.zeros(1000, np.float32)}


@pytest.fixture
def resnet18(published, tmp_path):
    """State dict of a ResNet-18, and the file that holds it."""
    state = torchvision_state("resnet18", published.tensor)
    save(state, tmp_path / "resnet18-f37072fd.pth")
    return state, tmp_path / "resnet18-f37072fd.pth"


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101"])
def test_torchvision_file_of_every_depth(published, tmp_path, name):
    small = {}  # broadcast zeros take no memory
    for key, value in torchvision_state(name, lambda _, shape: np.broadcast_to(np.float32(0), shape)).items():
        small[key] = value
    small["conv1.weight"] = published.tensor("conv1.weight", (64, 3, 7, 7))
    weights = read_published_state(small, tmp_path)
    assert weights.model == {"backbone": name}
    assert set(weights.unused) == {"fc.weight", "fc.bias"}
    assert ("pose" in weights.variables["params"]) == (name != "resnet101")
    kernel = weights.variables["params"]["encoder"]["stem"]["conv"]["kernel"]
    assert kernel[1, 2, 0, 5] == small["conv1.weight"][5, 0, 1, 2]
    _, shapes = shapes_of_network(backbone=name, depth=True, segmentation=False)
    for collection in ("params", "batch_stats"):
        ours = jax.tree.map(lambda x: x.shape, weights.variables[collection]["encoder"])
        assert ours == jax.tree.map(lambda x: x.shape, shapes[collection]["encoder"])


def read_published_state(state, folder):
    """`read_published` of a state dict without writing a large file."""
    import sdeseg_jax.interop.weights.published_weights as module

    path = folder / "weights.pth"
    path.touch()
    before, module.read_weight_file = module.read_weight_file, lambda _: state
    try:
        return read_published(path)
    finally:
        module.read_weight_file = before


def test_torchvision_file_becomes_encoder_and_pose_encoder(resnet18, tmp_path, capsys):
    state, path = resnet18
    assert run(path, tmp_path / "weights") == 0
    said = capsys.readouterr().out
    assert "only its encoder; its decoder keeps its initial weights" in said
    assert "Not used: fc.weight, fc.bias" in said
    assert f"--config.init.encoder={tmp_path}/weights with --config.model.backbone=resnet18" in said

    network, shapes = shapes_of_network(backbone="resnet18", segmentation=False, pose=True)
    rng = np.random.default_rng(0)
    random = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), dict(shapes))
    init = default_config().init
    init.encoder = init.pose = str(tmp_path / "weights")
    check_init(network, (32, 32), init)
    variables = initialize_from(random, init)
    assert jax.tree.structure(variables) == jax.tree.structure(random)
    pose, random_pose = variables["params"]["pose"], random["params"]["pose"]
    assert jax.tree.all(jax.tree.map(np.array_equal, pose["decoder"], random_pose["decoder"]))

    # A first layer of two frames, given the same image twice, responds as that of one frame.
    encoder = variables["params"]["encoder"]["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(encoder.transpose(3, 2, 0, 1), state["conv1.weight"])
    doubled = pose["encoder"]["stem"]["conv"]["kernel"]
    assert doubled.shape == (7, 7, 6, 64)
    np.testing.assert_allclose(doubled[:, :, :3] + doubled[:, :, 3:], encoder, rtol=1e-6)
    for collection in ("params", "batch_stats"):
        one, other = variables[collection]["encoder"], variables[collection]["pose"]["encoder"]
        names = set(one) - ({"stem"} if collection == "params" else set())
        assert jax.tree.all(jax.tree.map(np.array_equal, *({k: tree[k] for k in names} for tree in (one, other))))


def test_safetensors_file_is_the_same(resnet18, tmp_path):
    state, path = resnet18
    other = tmp_path / "model.safetensors"
    write_safetensors(other, {key: ("F32", value) for key, value in state.items()})
    one, two = read_published(path), read_published(other)
    assert one.used == two.used
    assert jax.tree.all(jax.tree.map(np.array_equal, one.variables, two.variables))


def test_weights_for_another_architecture_are_refused_before_work_starts(resnet18, tmp_path):
    assert run(resnet18[1], tmp_path / "weights") == 0
    network, init = Network(segmentation=False, pose=True), default_config().init
    init.encoder = str(tmp_path / "weights")
    with pytest.raises(
        CheckpointError, match=r"'encoder' of .* \(resnet18 in the checkpoint, resnet101 in the config\)"
    ):
        check_init(network, (32, 32), init)
    init.encoder, init.depth_decoder = "", str(tmp_path / "weights")
    with pytest.raises(CheckpointError, match=r"has no 'depth_decoder'; it has encoder, pose"):
        check_init(network, (32, 32), init)
    init.depth_decoder = str(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"config\.init\.depth_decoder: no checkpoint folder"):
        check_init(network, (32, 32), init)


def refused(state, tmp_path, capsys, message, name="weights.pth"):
    save(state, tmp_path / name)
    assert run(tmp_path / name, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert re.search(message, said, re.DOTALL) and name in said, said
    assert not (tmp_path / "out").exists()


def test_missing_key(resnet18, tmp_path, capsys):
    state = dict(resnet18[0])
    del state["layer2.0.bn1.running_var"]
    refused(state, tmp_path, capsys, r"missing keys \(1\): 'layer2\.0\.bn1\.running_var'")


def test_extra_key(resnet18, tmp_path, capsys):
    state = {**resnet18[0], "layer2.0.gain": np.ones(3, np.float32)}
    refused(state, tmp_path, capsys, r"unexpected keys \(1\): 'layer2\.0\.gain'")


def test_wrong_shape(resnet18, tmp_path, capsys):
    state = {**resnet18[0], "conv1.weight": np.zeros((64, 1, 7, 7), np.float32)}
    refused(
        state, tmp_path, capsys, r"first layer for 1 instead of 3 channels.*conv1\.weight' has shape \(64, 1, 7, 7\)"
    )


def test_other_resnet(resnet18, tmp_path, capsys):
    state = {**resnet18[0], "layer1.2.conv1.weight": np.zeros((64, 64, 3, 3), np.float32)}
    refused(
        state, tmp_path, capsys, r"no known ResNet has \(3, 2, 2, 2\) basic blocks; known: resnet10, resnet18, resnet34"
    )


def test_files_of_something_else(tmp_path, capsys):
    refused({"0.weight": np.zeros(3, np.float32)}, tmp_path, capsys, "neither a torchvision ResNet .*0.weight")
    refused({"epoch": 3}, tmp_path, capsys, "has no tensors; its entries: 'epoch'")
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "out") == 2
    assert "has no encoder.pth; a released depth network is a folder with" in capsys.readouterr().err


def test_output_that_is_not_empty_is_left_alone(resnet18, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    assert run(resnet18[1], tmp_path / "out") == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_output_that_cannot_be_written_to(resnet18, tmp_path, capsys):
    (tmp_path / "file").touch()
    messages = {
        "file": "is a file; remove it or name another folder",
        "file/x": "cannot be written to: Not a directory",
    }
    for output, message in messages.items():
        assert run(resnet18[1], tmp_path / output) == 2
        assert capsys.readouterr().err == f"Error: --output={tmp_path / output} {message}\n"


def test_released_depth_network_serves_as_a_finished_stage(published, tmp_path, capsys):
    """Zeros under the released keys, in the released files; test_golden_networks.py checks numbers."""
    folder = tmp_path / "mono"
    folder.mkdir()
    shapes = published.shapes("sde")
    for name, prefix in FOLDER_FILES.items():
        own = {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}
        save({key: np.zeros(shape, np.float32) for key, shape in own.items()}, folder / name)
    assert run(folder, tmp_path / "weights") == 0
    said = capsys.readouterr().out
    assert f"--config.depth.workdir={tmp_path}/weights" in said
    assert "Missing parts, which keep their initial weights: distillation, segmentation_decoder" in said
    assert "source domain" not in said

    config = default_config()
    config.depth.workdir = str(tmp_path / "weights")
    workdir = Workdir(tmp_path / "run", config)
    config.model.dtype, config.model.remat, config.depth.steps = "bfloat16", True, 1
    workdir.require("pretrain_depth", "")
    check_stage(config, workdir, "pretrain_depth")
    assert set(load_variables(workdir.folder("pretrain_depth"))["params"]) == {"encoder", "depth_decoder", "pose"}
    config.model.backbone = "resnet50"
    with pytest.raises(UserError, match="config.model.backbone: 'resnet101' there, 'resnet50' now"):
        check_stage(config, workdir, "pretrain_depth")


def test_source_domain_network_is_recognised_by_its_channels(published, tmp_path, capsys):
    fields = {"decoder_channels": (16, 32, 64, 128, 256), "aspp_rates": (3, 6, 9), "output_stride": 32}
    _, template = shapes_of_network(**SDE, **fields)
    leaves = {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_flatten_with_path(template)[0]
    }
    keys = keys_for(set(leaves), False, False)
    state = {
        "module." + keys[path]: np.broadcast_to(
            np.float32(0), (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
        )
        for path, shape in leaves.items()
    }
    weights = read_published_state({"model_state": state, "epoch": 1}, tmp_path)
    assert weights.model == {"backbone": "resnet101", "pose_backbone": "resnet18", "decoder_norm": False, **fields}
    assert set(weights.variables["params"]) == {"encoder", "depth_decoder", "pose"}
    import_weights.print_summary(weights, tmp_path / "gta_sde", [])
    said = capsys.readouterr().out
    assert f"for a source domain (config.source):\n  --config.source.depth.workdir={tmp_path}/gta_sde" in said


@pytest.mark.parametrize("shape", [(), (0, 8, 3, 3), (10**6, 1, 1, 1), (3,)])
def test_damaged_shapes_of_a_released_network(published, tmp_path, shape):
    state = {key: np.broadcast_to(np.float32(0), one) for key, one in published.shapes("transfer").items()}
    for key in ("models.segmentation.head.2.weight", "models.segmentation.unet_dec.decoder.13.block.0.conv.weight"):
        with pytest.raises(ValueError, match="sets the network's channels has the shape"):
            read_published_state({**state, key: np.broadcast_to(np.float32(0), shape)}, tmp_path)


def test_script_needs_neither_torch_nor_tensorflow(resnet18, tmp_path):
    import subprocess

    code = (
        "import sys, runpy; sys.modules['torch'] = None; sys.modules['tensorflow'] = None; "
        f"sys.argv = ['x', '--source={resnet18[1]}', '--output={tmp_path / 'out'}']; "
        f"runpy.run_path({str(ROOT / 'scripts' / 'import_weights.py')!r}, run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "out" / "import.json").read_text())["model"] == {"backbone": "resnet18"}
