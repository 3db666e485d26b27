"""Builds the networks that a config describes."""

from sdeseg_jax.models.network import Network, build_network
from sdeseg_jax.training.replication import AXIS


def depth_network(config) -> Network:
    """Returns encoder and depth decoder, with the pose network unless depth is supervised."""
    pose = config.depth.supervision == "self"
    return build_network(config.model, depth=True, segmentation=False, pose=pose, axis_name=AXIS)


def segmentation_network(config, classes: int | None = None) -> Network:
    """Returns the network of `config.segmentation`: with PAD and ego-motion if multi-task, else segmentation alone.

    Args:
      classes: their number; None for that of `config.data`.
    """
    multitask = config.segmentation.multitask
    return build_network(
        config.model,
        num_classes=classes or _number_of_classes(config),
        depth=multitask,
        distillation=multitask,
        pose=multitask and config.depth.supervision == "self",
        segmentation=True,
        segmentation_head="classifier" if multitask else config.segmentation.head,
        axis_name=AXIS,
    )


def student_network(config, segmentation: bool = False) -> Network:
    """Returns the slim network of the data selection: a depth student or, for "entropy", a segmentation network."""
    shared = {name: config.model[name] for name in ("dtype", "remat", "sync_batch_norm")}
    model = {**shared, **config.selection.student.to_dict()}
    if segmentation:
        return build_network(
            model,
            num_classes=_number_of_classes(config),
            depth=False,
            segmentation_head="half_resolution",
            axis_name=AXIS,
        )
    return build_network(model, segmentation=False, axis_name=AXIS)


def _number_of_classes(config) -> int:
    from sdeseg_jax.runs.open_datasets import class_map  # imports TensorFlow, which a known number does without

    return len(class_map(config))
