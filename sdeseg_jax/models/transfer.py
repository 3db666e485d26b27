"""SDE → segmentation transfer: the segmentation decoder starts from the depth decoder's weights (section 3.3)."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util


def _copy_blocks(collection: Mapping[str, Any]) -> dict[str, Any]:
    depth = traverse_util.flatten_dict(collection["depth_decoder"]["blocks"], sep="/")
    segmentation = traverse_util.flatten_dict(collection["segmentation_decoder"]["blocks"], sep="/")
    for name, value in segmentation.items():
        # Not the other way round: the segmentation decoder may stop at a coarser block than the depth decoder.
        if name not in depth:
            raise ValueError(f"cannot transfer {name!r}: only the segmentation decoder has it, not the depth decoder")
        if depth[name].shape != value.shape:
            shapes = f"{depth[name].shape} in the depth decoder and {value.shape} in the segmentation decoder"
            raise ValueError(f"cannot transfer {name!r}: its shape is {shapes}")
    copied = traverse_util.unflatten_dict({name: depth[name] for name in segmentation}, sep="/")
    return {**collection, "segmentation_decoder": {**collection["segmentation_decoder"], "blocks": copied}}


def transfer_depth_decoder(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Copies the depth decoder's blocks into the segmentation decoder; the heads stay unchanged.

    Args:
      variables: {'params': ..., 'batch_stats': ...} of a network with both decoders. The depth decoder may have come
        from another network's variables.

    Returns:
      New variables; the input is not modified. Both decoders share the same arrays.

    Raises:
      ValueError: a decoder is missing, or the decoders differ in a block's shape.
    """
    for name in ("depth_decoder", "segmentation_decoder"):
        if name not in variables["params"]:
            raise ValueError(f"cannot transfer: the network has no {name!r}")
    # Even without BatchNorm in the blocks, the ASPP has statistics: both collections have both decoders.
    return {**variables, **{key: _copy_blocks(variables[key]) for key in ("params", "batch_stats")}}
