"""A ResNet in the checkpoints of other trainings: found by prefix, chosen by convention, refused by its keys."""

import re
import zlib

import jax
import ml_dtypes
import numpy as np
import pytest

from sdeseg_jax.commands import import_weights
from sdeseg_jax.interop.weights.checkpoint_layout import find_encoder
from sdeseg_jax.interop.weights.published_weights import read_published
from sdeseg_jax.interop.weights.torch_parameter_names import keys_for
from sdeseg_jax.interop.weights.torch_resnets import resnet_shapes
from sdeseg_jax.models.encoders.resnet import RESNETS
from tests.interop.torch_writer import save


def array(shape, value=0.5):
    """Takes no memory."""
    return np.broadcast_to(np.float32(value), shape)


def resnet(name="resnet18", seed=0, prefix="", **others):
    """State dict whose arrays are constants that differ by key and seed, with counters."""
    state = {}
    for key, shape in resnet_shapes(name).items():
        state[prefix + key] = array(shape, 1 + zlib.crc32(f"{key}{seed}".encode()) / 2**32)
        if key.endswith("running_var"):
            state[prefix + key.replace("running_var", "num_batches_tracked")] = np.array(seed)
    return state | others


def check(content, prefix=None, seed=0, name="resnet18"):
    found = find_encoder(content, prefix)
    expected = {key: value for key, value in resnet(name, seed).items() if "num_batches" not in key}
    assert found.backbone == name and found.state.keys() == expected.keys()
    assert all(found.state[key].flat[0] == expected[key].flat[0] for key in expected)
    return found


def keys(*names):
    return {name: array((2, 3)) for name in names}


@pytest.mark.parametrize("name", RESNETS)
def test_shapes_are_those_of_the_network(published, name):
    network, _ = published.network("sde")
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    network = network.clone(backbone=name, depth=False, pose=False)
    tree = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, method="init_all"), images)
    leaves = {"/".join(part.key for part in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    ours = {}
    for path, key in keys_for(set(leaves), False, False).items():
        shape = leaves[path].shape
        ours[key.removeprefix("models.encoder.encoder.")] = (*shape[:-3:-1], *shape[:2]) if len(shape) == 4 else shape
    assert ours == resnet_shapes(name)


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "model.", "backbone.", "encoder.", "_orig_mod.", "module.encoder_q.", "module.backbone.body."]
    + ["_orig_mod.module.", "something.of.the.user.", "backbone.0."],
)
@pytest.mark.parametrize(
    "wrappers",
    [(), ("model",), ("state_dict",), ("model_state",), ("ema",), ("resnet",)]
    + [("classy_state_dict", "base_model", "model", "trunk")],
)
def test_any_prefix_and_wrapper(prefix, wrappers):
    content = resnet(prefix=prefix)
    for name in reversed(wrappers):
        content = {"epoch": 3, name: content, "optimizer": {"state": {0: {"exp_avg": array((3,))}}}}
    found = check(content)
    assert found.prefix == prefix
    assert all(repr(name) in found.origin for name in wrappers) and (not prefix or repr(prefix) in found.origin)
    assert all(key.endswith("num_batches_tracked") for key in found.left_out)


# Layouts as the authors' code and files have them: content, seed of the network to take, words, what is left out.
LAYOUTS = {
    "torchvision": (resnet() | keys("fc.weight", "fc.bias"), "", {"fc.weight", "fc.bias"}),
    "MoCo v1": (
        {
            "arch": "resnet18",
            "optimizer": {"state": {}},
            "state_dict": resnet(prefix="module.encoder_q.")
            | resnet(seed=1, prefix="module.encoder_k.")
            | keys("module.encoder_q.fc.weight", "module.encoder_k.fc.weight", "module.queue", "module.queue_ptr"),
        },
        "entry 'state_dict', prefix 'module.encoder_q.' (MoCo's query encoder, the network that its authors evaluate; "
        "not 'state_dict.module.encoder_k.')",
        {"module.encoder_q.fc.weight", "module.encoder_k.fc.weight", "module.queue", "module.queue_ptr"},
    ),
    "MoCo v2, released": (
        {"state_dict": resnet(prefix="module.encoder_q.") | keys("module.encoder_q.fc.0.weight", "module.queue")},
        "prefix 'module.encoder_q.'",
        {"module.encoder_q.fc.0.weight", "module.queue"},
    ),
    "MoCo v3": (
        {
            "state_dict": resnet(prefix="module.base_encoder.")
            | resnet(seed=1, prefix="module.momentum_encoder.")
            | keys("module.base_encoder.fc.0.weight", "module.predictor.0.weight")
        },
        "MoCo v3's base encoder",
        {"module.base_encoder.fc.0.weight", "module.predictor.0.weight"},
    ),
    "SwAV": (
        resnet(prefix="module.") | keys("module.projection_head.0.weight", "module.prototypes.prototypes0.weight"),
        "prefix 'module.'",
        {"module.projection_head.0.weight", "module.prototypes.prototypes0.weight"},
    ),
    "DINO": (
        {
            "student": resnet(seed=1, prefix="module.backbone.") | keys("module.head.mlp.0.weight"),
            "teacher": resnet(prefix="backbone.") | keys("head.last_layer.weight_g"),
            "dino_loss": keys("center"),
        },
        "(DINO's teacher, the network that its authors evaluate; not 'student.module.backbone.')",
        {"head.last_layer.weight_g"},
    ),
    "Barlow Twins, VICReg": (
        {"model": resnet(prefix="module.backbone.") | keys("module.projector.0.weight", "module.bn.running_mean")},
        "prefix 'module.backbone.'",
        {"module.projector.0.weight", "module.bn.running_mean"},
    ),
    "PixPro": (
        {"model": resnet(prefix="module.encoder.") | resnet(seed=1, prefix="module.encoder_k.")},
        "not 'model.module.encoder_k.'",
        {f"module.encoder_k.{key}" for key in resnet_shapes("resnet18")},
    ),
    "timm with an average": (
        {"state_dict": resnet(seed=1), "state_dict_ema": resnet()},
        "entry 'state_dict_ema' (the running average of the weights, which is usually the better network; "
        "not 'state_dict.')",
        set(),
    ),
    "an average of MoCo": (
        {
            name: resnet(seed=seed, prefix="encoder_q.") | resnet(seed=seed + 1, prefix="encoder_k.")
            for name, seed in (("model", 2), ("ema", 0))
        },
        "entry 'ema', prefix 'encoder_q.'",
        {f"encoder_k.{key}" for key in resnet_shapes("resnet18")},
    ),
    "segmentation of mmseg": (
        {"meta": {"x": 1}, "state_dict": resnet(prefix="backbone.") | keys("decode_head.conv_seg.weight")},
        "prefix 'backbone.'",
        {"decode_head.conv_seg.weight"},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_a_published_training(layout):
    content, words, left_out = LAYOUTS[layout]
    found = check(content)
    assert words in found.origin
    counted = {key for key in found.left_out if "num_batches" not in key}
    assert left_out <= counted
    assert all(any(part in key for part in ("encoder_k", "momentum_encoder")) for key in counted - left_out)


def test_networks_of_which_none_is_the_usual_choice():
    content = {"state_dict": resnet(prefix="depth_net.encoder.") | resnet(seed=1, prefix="pose_net.encoder.")}
    message = r"holds 2 networks.*--prefix=…: 'state_dict\.depth_net\.encoder\.', 'state_dict\.pose_net\.encoder\.'"
    with pytest.raises(ValueError, match=message):
        find_encoder(content)
    for prefix in ("pose_net.encoder.", "pose_net.encoder", "state_dict.pose_net.encoder."):
        assert "as --prefix says; not 'state_dict.depth_net.encoder.'" in check(content, prefix, seed=1).origin
    with pytest.raises(ValueError, match=r"--prefix=encoder does not name one of .* 'state_dict\.depth_net"):
        find_encoder(content, "encoder")


def test_prefix_overrules_a_convention_and_may_be_empty():
    check({"model": resnet(seed=1), "ema": resnet()}, "model", seed=1)
    content = resnet() | resnet(seed=1, prefix="copy.")
    with pytest.raises(ValueError, match="holds 2 networks"):
        find_encoder(content)
    assert any(key.startswith("copy.") for key in check(content, "").left_out)


def without(state, *patterns):
    return {key: value for key, value in state.items() if not any(re.search(one, key) for one in patterns)}


def grouped(width, name="resnet50"):
    """ResNeXt or Wide ResNet: other shapes within blocks."""
    state = resnet(name)
    state["layer1.0.conv1.weight"] = array((128, 64, 1, 1))
    state["layer1.0.conv2.weight"] = array((128, width, 3, 3))
    return state


# As timm, pytorch-image-models' predecessors, OpenMMLab, CLIP and others name what torchvision's ResNets lack.
LOOK_ALIKES = {
    "timm resnet50d": (
        without(resnet("resnet50"), r"^conv1\.", r"downsample")
        | keys("conv1.0.weight", "conv1.1.weight", "layer1.0.downsample.1.weight", "layer1.0.downsample.2.weight"),
        r"deep stem.*unexpected keys.*'conv1\.0\.weight'.*missing keys.*'conv1\.weight'",
    ),
    "mmseg v1c": (without(resnet("resnet50"), r"^conv1\.", r"^bn1") | keys("stem.0.weight"), "deep stem"),
    "average pooling on the shortcut": (resnet("resnet50") | keys("layer2.0.downsample.2.weight"), "ResNet-D"),
    "timm seresnet": (resnet() | keys("layer1.0.se.fc1.weight"), r"squeeze-and.*'layer1\.0\.se\.fc1\.weight'"),
    "senet154": (resnet() | keys("layer1.0.se_module.fc1.weight"), "SE-ResNet"),
    "ECA": (resnet() | keys("layer1.0.eca.conv.weight"), "or ECA"),
    "anti-aliased": (resnet() | keys("maxpool.1.filt", "layer2.0.conv2.0.filt"), r"BlurPool.*maxpool\.1\.filt"),
    "IBN-Net": (resnet() | keys("layer1.0.bn1.IN.weight", "layer1.0.bn1.BN.weight"), "instance norms"),
    "Res2Net": (resnet() | keys("layer1.0.convs.0.weight"), "Res2Net"),
    "group norm": (without(resnet(), "running_", "num_batches"), r"GroupNorm.*missing keys \(40\)"),
    "ResNeXt": (grouped(4), r"grouped convolutions \(ResNeXt\)"),
    "Wide ResNet": (grouped(128), r"wider blocks"),
    "CLIP": (resnet() | keys("conv2.weight", "conv3.weight", "attnpool.q_proj.weight"), "CLIP"),
    "grey": (resnet() | {"conv1.weight": array((64, 1, 7, 7))}, "a first layer for 1 instead of 3 channels"),
    "two frames": (
        resnet() | {"conv1.weight": array((64, 6, 7, 7))},
        "a first layer for 6 instead of 3 channels .two frames",
    ),
    "ResNet-152": (resnet("resnet101") | keys("layer2.4.conv1.weight"), r"no known ResNet has \(3, 5, 23, 3\)"),
    "something in a block": (resnet() | keys("layer1.0.gain"), r"unexpected keys \(1\): 'layer1\.0\.gain'"),
    "something beside": (
        resnet() | keys("decoder.0.weight"),
        r"'decoder\.0\.weight'.*of a head, save the file without",
    ),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_networks_that_look_alike_are_refused(name):
    state, message = LOOK_ALIKES[name]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        find_encoder(state)
    moved = {f"module.{key}": value for key, value in state.items()}
    with pytest.raises(ValueError):
        find_encoder({"state_dict": moved})


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_floats_are_fine(dtype):
    state = {key: value.astype(dtype) if value.dtype == np.float32 else value for key, value in resnet().items()}
    assert find_encoder(state).state["conv1.weight"].dtype == dtype


def test_numbers_that_cannot_be_weights():
    bad = np.ones(64, np.float32)
    bad[3:5] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"not finite \(NaN or infinite\) in 'module\.bn1\.weight' \(2 of 64\)"):
        find_encoder(resnet(prefix="module.") | {"module.bn1.weight": bad})
    many = {key: value for key, value in resnet().items() if "running_var" in key}
    with pytest.raises(ValueError, match=r"and 16 more arrays.*earlier checkpoint"):
        find_encoder(resnet() | {key: np.full(value.shape, 1e300) for key, value in many.items()})  # beyond float32
    for dtype in (ml_dtypes.float8_e4m3fn, np.int8, np.complex64):
        name = np.dtype(dtype).name
        with pytest.raises(ValueError, match=f"1 arrays are {name}, not float: 'layer1.0.conv1.weight'"):
            find_encoder(resnet() | {"layer1.0.conv1.weight": np.zeros((64, 64, 3, 3), dtype)})


def test_command_says_what_it_took_and_what_it_left_out(tmp_path, capsys):
    state = LAYOUTS["MoCo v1"][0]["state_dict"]
    solid = {key: np.full(value.shape, value.flat[0] if value.size else 0, value.dtype) for key, value in state.items()}
    save({"epoch": 1, "state_dict": solid}, tmp_path / "moco.pth.tar")
    arguments = [f"--source={tmp_path / 'moco.pth.tar'}", f"--output={tmp_path / 'out'}"]
    assert import_weights.main(arguments) == 0
    said = capsys.readouterr().out
    assert "Taken from: entry 'state_dict', prefix 'module.encoder_q.' (MoCo's query encoder" in said
    for left_out in ("module.encoder_q.fc.weight", "module.encoder_k.* (101)", "module.queue, module.queue_ptr; "):
        assert left_out in said.partition("Not used: ")[2]
    assert "40 counters of BatchNorm" in said
    assert "--config.init.pose=" in said
    save({key: value for key, value in solid.items() if "encoder_q.conv1" not in key}, tmp_path / "bad.pth")
    arguments = [f"--source={tmp_path / 'bad.pth'}", f"--output={tmp_path / 'other'}", "--prefix=module.encoder_q."]
    assert import_weights.main(arguments) == 2
    assert "--prefix=module.encoder_q. does not name one of the networks" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_checkpoints_that_are_made_to_take_long():
    nested = resnet()
    for _ in range(6):
        nested = dict.fromkeys(map(str, range(1000)), nested)  # 10¹⁸ ways to the same dict
    check(nested)
    with pytest.raises(ValueError, match=r"unexpected keys \(1\)"):
        find_encoder(resnet() | keys("queue" * 100_000 + "-.weight"))
    many = {
        f"{number}.{key}": array((1,)) for number in range(20_000) for key in ("conv1.weight", "layer1.0.conv1.weight")
    }
    with pytest.raises(ValueError, match="it holds 20000 networks"):
        find_encoder(many)


def test_names_of_networks_that_keys_do_not_show(tmp_path):
    state = {key: np.ones(shape, np.float32) for key, shape in resnet_shapes("resnet10").items()}
    save({"arch": "resnetblur18", "state_dict": state}, tmp_path / "model.pth")
    assert (
        "'resnetblur18' is that of a network that has anti-aliased" in read_published(tmp_path / "model.pth").notes[0]
    )
    save(state, tmp_path / "resnet_caffe.pth")
    assert "expects BGR" in read_published(tmp_path / "resnet_caffe.pth").notes[0]
    (tmp_path / "config.json").write_text('{"architecture": "resnetaa50d"}')
    save(state, tmp_path / "pytorch_model.bin")
    assert "'resnetaa50d'" in read_published(tmp_path).notes[1]
    for text in ("[]", "{", '{"architecture": 3}', "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        assert read_published(tmp_path).notes == ("Read pytorch_model.bin.",)


def test_imported_arrays_equal_those_of_the_plain_file(tmp_path):
    """The whole way, once: every layout above gives the same state dict."""
    plain = {
        key: np.full(value.shape, value.flat[0] if value.size else 0, value.dtype) for key, value in resnet().items()
    }
    save(plain, tmp_path / "plain.pth")
    wrapped = {f"_orig_mod.model.{key}": value for key, value in plain.items()}
    save({"epoch": 1, "model": wrapped}, tmp_path / "wrapped.pth", zipped=False)
    one, other = read_published(tmp_path / "plain.pth"), read_published(tmp_path / "wrapped.pth")
    assert one.model == other.model
    assert jax.tree.all(jax.tree.map(np.array_equal, one.variables, other.variables))
    assert other.used == tuple(f"_orig_mod.model.{key}" for key in one.used)
