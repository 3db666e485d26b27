"""Names of the published networks' weights → paths in the variables of `models.Network`.

A PyTorch state dict names arrays by attribute and by position in lists, e.g.
`models.encoder.encoder.layer3.22.bn2.running_var`. Only this file knows those positions.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Set

# (Prefix in the state dict, prefix in our tree, kind of module), tried in this order. Several map to the same prefix of
# ours, because the multi-task network is built differently from the others.
_PREFIXES = (
    ("models.encoder.encoder.", "encoder/", "encoder"),
    ("models.pose_encoder.encoder.", "pose/encoder/", "encoder"),
    ("models.pose.net.", "pose/decoder/", "pose_decoder"),
    ("models.depth.decoder.", "depth_decoder/", "decoder"),
    ("models.mtl_decoder.depth_dec.decoder.", "depth_decoder/", "decoder"),
    ("models.segmentation.unet_dec.decoder.", "segmentation_decoder/", "decoder"),
    ("models.mtl_decoder.seg_dec.decoder.", "segmentation_decoder/", "decoder"),
)

_HEADS = "segmentation_decoder/heads"
_MULTI_TASK_MODULES = {
    "models.mtl_decoder.sa_depth.conv": "distillation/to_segmentation/conv",
    "models.mtl_decoder.sa_depth.attention": "distillation/to_segmentation/attention",
    "models.mtl_decoder.sa_seg.conv": "distillation/to_depth/conv",
    "models.mtl_decoder.sa_seg.attention": "distillation/to_depth/attention",
    "models.mtl_decoder.seg_intermediate_head.0": f"{_HEADS}/intermediate_classifier",
    "models.mtl_decoder.seg_final_head.0": f"{_HEADS}/classifier",
}
_TRANSFER_MODULES = {
    "models.segmentation.project.seg9.0": f"{_HEADS}/projection",
    "models.segmentation.head.2": f"{_HEADS}/classifier",
}
# The same name, head.2, is a norm here.
_SELECTION_MODULES = {
    "models.segmentation.project.seg8.0": f"{_HEADS}/projection",
    "models.segmentation.head.1": f"{_HEADS}/conv",
    "models.segmentation.head.2": f"{_HEADS}/norm",
    "models.segmentation.head.5": f"{_HEADS}/classifier",
}

# Decoder layers by position in the published list; positions 1, 4, 7, 10 are identities without parameters.
_DECODER_LAYERS = {2: "block4/fuse", 3: "block3/reduce", 5: "block3/fuse", 6: "block2/reduce", 8: "block2/fuse"}
_DECODER_LAYERS |= {9: "block1/reduce", 11: "block1/fuse", 12: "block0/reduce", 13: "block0/fuse"}
_POSE_LAYERS = {"0": "squeeze", "1": "conv1", "2": "conv2", "3": "out"}

_CONV_LEAVES = {"weight": ("params", "kernel"), "bias": ("params", "bias")}
_NORM_LEAVES = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


def _encoder_module(name: str) -> str | None:
    """'layer1.0.bn2' → 'stage1_block0/conv2/norm'."""
    match = re.fullmatch(r"(?:layer(\d)\.(\d+)\.)?(?:(conv|bn)(\d)|downsample\.([01]))", name)
    if not match:
        return None
    stage, block, kind, number, downsample = match.groups()
    if stage is None:
        return f"stem/{'conv' if kind == 'conv' else 'norm'}" if kind and number == "1" else None
    if kind:
        return f"stage{stage}_block{block}/conv{number}/{'conv' if kind == 'conv' else 'norm'}"
    return f"stage{stage}_block{block}/shortcut/{'conv' if downsample == '0' else 'norm'}"


def _aspp_module(name: str) -> str | None:
    """'convs.2.1' → 'dilated_1/norm'. Positions in the pooled branch are one higher, as its pooling comes first."""
    match = re.fullmatch(r"convs\.(\d+)\.(\d)|project\.([01])", name)
    if not match:
        return None
    branch, position, project = match.groups()
    if project is not None:
        return f"project/{('conv', 'norm')[int(project)]}"
    # Three dilated branches, as all published networks have.
    module = {"0": "pointwise", "4": "pooled"}.get(branch, f"dilated_{int(branch) - 1}")
    layer = int(position) - (1 if branch == "4" else 0)
    return f"{module}/{('conv', 'norm')[layer]}" if layer in (0, 1) else None


def _decoder_module(name: str) -> str | None:
    """'5.block.0.conv' → 'blocks/block3/fuse/conv', '14.conv' → 'heads/scale0'."""
    position, _, rest = name.partition(".")
    if position == "0":
        module = _aspp_module(rest)
        return module and f"blocks/block4/aspp/{module}"
    if not position.isdigit():
        return None
    if int(position) in _DECODER_LAYERS:
        layer = {"block.0.conv": "conv", "block.1": "batch_norm"}.get(rest)
        return layer and f"blocks/{_DECODER_LAYERS[int(position)]}/{layer}"
    if 14 <= int(position) <= 17 and rest == "conv":
        return f"heads/scale{int(position) - 14}"
    return None


def translate(key: str, selection: bool) -> str | None:
    """Returns the path in our variables for a state dict key.

    Args:
      key: full, `models.<part>.…`.
      selection: whether `is_selection_network` of all keys.

    Returns:
      'collection/part/…/leaf', or None if no published network has such a key. Layers that are in the files but unused
      (disparity heads of a segmentation decoder) get a path that no network has here, either.
    """
    module, _, leaf = key.rpartition(".")
    path = (_MULTI_TASK_MODULES | (_SELECTION_MODULES if selection else _TRANSFER_MODULES)).get(module)
    if path is None:
        for prefix, ours, kind in _PREFIXES:
            if module.startswith(prefix):
                rest = module.removeprefix(prefix)
                if kind == "encoder":
                    path = _encoder_module(rest)
                elif kind == "decoder":
                    path = _decoder_module(rest)
                else:
                    path = _POSE_LAYERS.get(rest)
                path = path and ours + path
                break
    if path is None:
        return None
    leaves = _NORM_LEAVES if path.endswith("norm") else _CONV_LEAVES
    if leaf not in leaves:
        return None
    collection, leaf = leaves[leaf]
    return f"{collection}/{path}/{leaf}"


def is_selection_network(keys: Iterable[str]) -> bool:
    """Whether these keys belong to the data selection network, in which one name has another meaning."""
    return any(key.startswith(("models.segmentation.head.5.", "models.segmentation.project.seg8.")) for key in keys)


def _published_modules() -> Iterator[str]:
    """Yields every module name of the published networks."""
    yield from (*_MULTI_TASK_MODULES, *_TRANSFER_MODULES, *_SELECTION_MODULES)
    block = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample.0", "downsample.1"]
    encoder = ["conv1", "bn1"]
    # 23 blocks: the longest stage of a ResNet-101.
    encoder += [f"layer{s}.{b}.{name}" for s, b, name in itertools.product(range(1, 5), range(23), block)]
    aspp = [f"0.convs.{branch}.{position}" for branch in range(5) for position in range(3)]
    layers = [f"{position}.{name}" for position in _DECODER_LAYERS for name in ("block.0.conv", "block.1")]
    decoder = [*aspp, "0.project.0", "0.project.1", *layers, *(f"{14 + scale}.conv" for scale in range(4))]
    modules = {"encoder": encoder, "decoder": decoder, "pose_decoder": list(_POSE_LAYERS)}
    for prefix, _, kind in _PREFIXES:
        yield from (prefix + name for name in modules[kind])


def keys_for(paths: Set[str], multi_task: bool, selection: bool) -> Mapping[str, str]:
    """Returns path → key in a published network, for messages.

    Args:
      paths: 'collection/part/…'.
      multi_task: prefer the names of the multi-task network if a path has two.
      selection: use the names of the selection network.
    """
    found = {}
    for module, leaf in itertools.product(_published_modules(), _NORM_LEAVES):
        key = f"{module}.{leaf}"
        path = translate(key, selection)
        if path in paths and (path not in found or multi_task == key.startswith("models.mtl_decoder.")):
            found[path] = key
    return found
