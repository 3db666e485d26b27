"""The stages of a run by name, and the groups of them that settings concern."""

STAGES = (
    "pretrain_depth", "estimate_depth", "pretrain_source_depth", "estimate_source_depth", "select_labels", "baseline",
    "train", "evaluate", "report",
)  # fmt: skip
"""Stages that a pipeline is made of, in an order that works."""

OPTIONAL_STAGES = ("pretrain_source_depth", "estimate_source_depth", "select_labels")
"""Those that a pipeline has only where its config asks for them."""

DEPTH = ("pretrain_depth", "estimate_depth", "pretrain_source_depth", "estimate_source_depth")
TRAININGS = ("pretrain_depth", "pretrain_source_depth", "select_labels", "baseline", "train")
SEGMENTATION = ("baseline", "train", "evaluate")
NETWORKS = (*DEPTH, "select_labels", *SEGMENTATION)
"""Whatever the depth network is part of or is used by."""
EVERY = ("dataset", *NETWORKS)

_GROUPS = {EVERY: "all", NETWORKS: "all but dataset", TRAININGS: "trainings"}


def stages_text(stages: tuple[str, ...]) -> str:
    """Names stages for people; the large groups by one word."""
    return _GROUPS.get(stages, ", ".join(stages))
