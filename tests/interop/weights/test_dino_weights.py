"""Weights of DINOv2 and DINOv3, in the publishers' and in transformers' names."""

import jax
import numpy as np
import pytest

from sdeseg_jax.config import ConfigError, default_config
from sdeseg_jax.interop.weights import published_weights
from sdeseg_jax.interop.weights.dino_weights import convert_dino
from sdeseg_jax.interop.weights.published_weights import read_published
from sdeseg_jax.models import build_network
from sdeseg_jax.models.encoders import encoder_name
from sdeseg_jax.models.encoders.dino import DINOS
from sdeseg_jax.runs import initial_weights
from tests.interop.torch_writer import write_safetensors

LINEAR = {
    "publisher": {"qkv": "attn.qkv", "project": "attn.proj", "expand": "mlp.fc1", "reduce": "mlp.fc2"},
    "hub2": {"project": "attention.output.dense", "expand": "mlp.fc1", "reduce": "mlp.fc2"}
    | {name: f"attention.attention.{name}" for name in ("query", "key", "value")},
    "new2": {"project": "attention.o_proj", "expand": "mlp.fc1", "reduce": "mlp.fc2"}
    | {name: f"attention.{name[0]}_proj" for name in ("query", "key", "value")},
    "hub3": {"project": "attention.o_proj", "expand": "mlp.up_proj", "reduce": "mlp.down_proj"}
    | {name: f"attention.{name[0]}_proj" for name in ("query", "key", "value")},
}


def state_of(name: str, naming: str, fill=lambda shape: np.broadcast_to(np.float32(0.5), shape)):
    """A state dict of a network in a naming: publisher, hub (files on the hub), new (transformers 5)."""
    shape, third, hub = DINOS[name], name.startswith("dinov3"), naming != "publisher"
    channels, state = shape.channels, {}
    linear = LINEAR["publisher" if not hub else "hub3" if third else "hub2" if naming == "hub" else "new2"]
    blocks = "blocks" if not hub else "encoder.layer" if not third else "layer" if naming == "hub" else "model.layer"
    top = "embeddings." if hub else ""
    patches = "patch_embed.proj" if not hub else "embeddings.patch_embeddings" + ("" if third else ".projection")

    def add(key, *shape):
        state[key] = fill(shape)

    add(f"{top}cls_token", 1, 1, channels)
    add(f"{top}mask_token", 1, channels)
    if shape.grid:
        add("embeddings.position_embeddings" if hub else "pos_embed", 1, 1 + shape.grid**2, channels)
    if shape.registers:
        registers = "embeddings.register_tokens" if hub else "storage_tokens" if third else "register_tokens"
        add(registers, 1, shape.registers, channels)
    add(f"{patches}.weight", channels, 3, shape.patch, shape.patch)
    add(f"{patches}.bias", channels)
    for number in range(shape.blocks):
        block = f"{blocks}.{number}."
        for norm in ("norm1", "norm2"):
            add(f"{block}{norm}.weight", channels)
            add(f"{block}{norm}.bias", channels)
        sizes = {"qkv": (3, 1), "expand": (4, 1), "reduce": (1, 4)}
        for part, layer in linear.items():
            rows, columns = sizes.get(part, (1, 1))
            add(f"{block}{layer}.weight", rows * channels, columns * channels)
            if part != "key" or not third:
                add(f"{block}{layer}.bias", rows * channels)
        for scale in (1, 2):
            add(f"{block}layer_scale{scale}.lambda1" if hub else f"{block}ls{scale}.gamma", channels)
        if third and not hub:
            state[f"{block}attn.qkv.bias_mask"] = np.repeat(np.float32([1, 0, 1]), channels)
    add("layernorm.weight" if hub and not third else "norm.weight", channels)
    add("layernorm.bias" if hub and not third else "norm.bias", channels)
    if third and not hub:
        add("rope_embed.periods", channels // shape.heads // 4)
    return state


@pytest.mark.parametrize("naming", ["publisher", "hub", "new"])
@pytest.mark.parametrize("name", DINOS)
def test_every_size_imports_completely(name, naming):
    state = state_of(name, naming)
    found, variables, used, left_out = convert_dino(state)
    assert found == name == encoder_name(variables["params"])
    assert all("mask" in key or "rope" in key for key in left_out) and len(used) + len(left_out) == len(state)


def test_namings_give_the_same_network():
    """The publisher's joint matrix of query, key and value is split in that order."""
    rng = np.random.default_rng(0)
    for name in ("dinov2_small", "dinov3_small"):
        separate = state_of(name, "hub", lambda shape: rng.normal(size=shape).astype(np.float32))
        keys = [key for key in state_of(name, "publisher") if "mask" not in key and "rope" not in key]
        others = [key for key in separate if "mask" not in key and not any(x in key for x in ("query", "key", "value"))]
        others = [key for key in others if not any(x in key for x in ("q_proj", "k_proj", "v_proj"))]
        joint = dict(zip((key for key in keys if "qkv" not in key), map(separate.get, others), strict=True))
        for key in (key for key in keys if "qkv" in key):
            number, leaf = key.split(".")[1], key.rpartition(".")[2]
            block = f"encoder.layer.{number}.attention.attention." if name == "dinov2_small" else f"layer.{number}."
            parts = ("query", "key", "value") if name == "dinov2_small" else [f"attention.{x}_proj" for x in "qkv"]
            zeros = np.zeros(384, np.float32)
            joint[key] = np.concatenate([separate.get(f"{block}{part}.{leaf}", zeros) for part in parts])
        one, other = convert_dino(separate)[1], convert_dino(joint)[1]
        jax.tree.map(np.testing.assert_array_equal, one, other)
        kernel = one["params"]["transformer"]["block0"]["expand"]["kernel"]
        assert kernel.shape == (384, 1536) and kernel.std() > 0.9


def test_timm_s_registers():
    """timm added the class's position embedding to its token."""
    state = state_of("dinov2_base_registers", "publisher")
    state["reg_token"] = state.pop("register_tokens")
    state["pos_embed"] = state["pos_embed"][:, 1:]
    name, variables, _, _ = convert_dino(state)
    positions = variables["params"]["transformer"]["positions"]
    assert name == "dinov2_base_registers" and not positions[0].any() and (positions[1:] == 0.5).all()


def test_behind_prefixes_and_beside_heads():
    state = state_of("dinov2_small", "publisher")
    depth_anything = {f"pretrained.{key}": value for key, value in state.items()}
    depth_anything["depth_head.projects.0.weight"] = np.zeros((4, 384, 1, 1), np.float32)
    name, _, _, left_out = convert_dino(depth_anything)
    assert name == "dinov2_small" and "depth_head.projects.0.weight" in left_out
    two = {f"{part}.backbone.{key}": value for part in ("teacher", "student") for key, value in state.items()}
    _, _, used, _ = convert_dino(two)
    assert all(key.startswith("teacher.") for key in used)
    _, _, used, _ = convert_dino(two, "student.backbone")
    assert all(key.startswith("student.") for key in used)
    two = {f"{part}.{key}": value for part in ("a", "b") for key, value in state.items()}
    with pytest.raises(ValueError, match="holds 2 Vision Transformers. Choose one with --prefix=…: 'a.', 'b.'"):
        convert_dino(two)
    with pytest.raises(ValueError, match="--prefix=c does not name one of the networks"):
        convert_dino(two, "c")


def test_of_several_networks_in_a_file_the_teacher_is_taken(tmp_path, monkeypatch):
    state = state_of("dinov2_small", "publisher")
    other = {key: value + 1 for key, value in state.items()}
    contents = {"student": {"backbone": other}, "teacher": {"backbone": state}}
    monkeypatch.setattr(published_weights, "read_weight_file", lambda path: contents)
    taken = read_published(tmp_path / "a.pth")
    assert taken.variables["params"]["encoder"]["transformer"]["norm"]["scale"][0] == 0.5
    student = read_published(tmp_path / "a.pth", "student.backbone")
    assert student.variables["params"]["encoder"]["transformer"]["norm"]["scale"][0] == 1.5
    contents = {"state_dict": state, "state_dict_ema": other}
    with pytest.raises(ValueError, match="Choose one with --prefix=…: 'state_dict.', 'state_dict_ema.'"):
        read_published(tmp_path / "a.pth")


def test_other_transformers_are_refused_in_words():
    state = state_of("dinov2_small", "publisher")
    first = {key: value for key, value in state.items() if ".ls" not in key}
    first |= {"patch_embed.proj.weight": np.zeros((384, 3, 16, 16), np.float32)}
    with pytest.raises(ValueError, match=r"another kind \(12 blocks, patches of 16 pixels\); the encoders here are"):
        convert_dino(first)
    giant = {**state, "blocks.0.mlp.w12.weight": np.zeros((8, 384), np.float32)}
    with pytest.raises(ValueError, match="gated .SwiGLU, key 'blocks.0.mlp.w12.weight'.*giant"):
        convert_dino(giant)
    with pytest.raises(ValueError, match=r"not exactly a dinov2_small(?s:.*)block3/scale2 missing"):
        convert_dino({key: value for key, value in state.items() if key != "blocks.3.ls2.gamma"})
    with pytest.raises(ValueError, match=r"positions has the shape \(257, 384\), expected \(1370, 384\)"):
        convert_dino({**state, "pos_embed": np.zeros((1, 257, 384), np.float32)})
    with pytest.raises(ValueError, match="not finite"):
        convert_dino({**state, "norm.bias": np.full(384, np.nan, np.float32)})
    third = state_of("dinov3_small", "publisher")
    with pytest.raises(ValueError, match="DINOv3 has no biases of keys, but this file has"):
        convert_dino({key: value for key, value in third.items() if "bias_mask" not in key})
    with pytest.raises(ValueError, match="bias_mask keeps biases of keys"):
        convert_dino({**third, "blocks.0.attn.qkv.bias_mask": np.ones(1152, np.float32)})


def test_weights_for_satellite_images_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(published_weights, "read_weight_file", lambda path: state_of("dinov3_large", "publisher"))
    assert read_published(tmp_path / "dinov3_vitl16_pretrain_lvd1689m.pth").model == {"backbone": "dinov3_large"}
    with pytest.raises(ValueError, match="trained on satellite images .SAT-493M., normalised with other constants"):
        read_published(tmp_path / "dinov3_vitl16_pretrain_sat493m.pth")
    cached = tmp_path / "facebook--dinov3-vitl16-pretrain-sat493m@main" / "model.safetensors"
    with pytest.raises(ValueError, match="satellite"):
        read_published(cached)


def test_weights_of_another_encoder_are_refused_and_those_of_the_own_taken(tmp_path):
    """From files: without registers for a network with them, another size; the reassembly stays random."""
    rng = np.random.default_rng(0)
    state = state_of("dinov2_small", "hub", lambda shape: rng.normal(size=shape).astype(np.float32))
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {key: ("F32", value) for key, value in state.items()})
    assert read_published(path).model == {"backbone": "dinov2_small"}
    model = default_config().model
    for backbone in ("dinov2_small_registers", "dinov2_base", "resnet50"):
        model.backbone = backbone
        with pytest.raises(ConfigError, match=f"weights of dinov2_small, but the network's encoder is {backbone}"):
            initial_weights.make_reader(model, "init", {})("encoder", str(path))
    model.backbone = "dinov2_small"
    network = build_network(model, depth=False, decoder_channels=(4, 4, 4, 4, 4), aspp_rates=(1,))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), np.zeros((1, 64, 64, 3)), False))
    variables = jax.tree.map(lambda one: np.zeros(one.shape, one.dtype), shapes)
    full = initial_weights.initialize(dict(variables), model, {"encoder": str(path)})
    assert full["params"]["encoder"]["transformer"]["norm"]["scale"].std() > 0.5
    assert not full["params"]["encoder"]["reassembly"]["level0"]["kernel"].any()
