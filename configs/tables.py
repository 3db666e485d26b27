"""The rows of the paper's tables, and of some of our own, as config arguments for `sdeseg tables`.

A row's argument says what it switches (see `choose_method` and `choose_adaptation` in `configs.common`); its columns
are numbers of labels and seeds.
"""

import dataclasses
import pathlib

BASELINE = "mix=supervised,depth=none,multitask=false"
COTRAINED_ALONE = "mix=supervised,depth=transfer,multitask=true"
COTRAINED = "mix=depth,depth=transfer,multitask=true"
FULL = "mix=depth,depth=feature_distance,multitask=true"
TARGET_ALONE = f"source=false,cross=none,matching=false,{BASELINE}"
UNMIXED = "source=true,cross=none,matching=false"
SOURCE = f"{UNMIXED},{BASELINE}"
"""Source images and labels (SD), without mixing, beside the labelled target images."""
MATCHED = "source=true,cross=depth,matching=true"
"""Cross-Domain DepthMix with Matching Geometry Sampling (SD + CDM + MG)."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A method.

    Attributes:
      name: as the table prints it.
      argument: of the config.
    """

    name: str
    argument: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Methods in rows, numbers of labels in columns; the first row is what the others are compared with.

    Attributes:
      title: what is varied, and the paper's table.
      rows: methods.
      labels: numbers of labels in the paper's setting; for other configs, `--labels` says them.
      config: the paper's setting.
      depth_metrics: keys of depth scores to show as well.
    """

    title: str
    rows: tuple[Row, ...]
    labels: tuple[int, ...]
    config: str = "configs/cityscapes.py"
    depth_metrics: tuple[str, ...] = ()


TABLES = {
    "labels": Table(
        "Semi-supervised segmentation by number of labels (Table 3)",
        (
            Row("Supervised baseline", BASELINE),
            Row("ClassMix", "mix=class,depth=none,multitask=false"),
            Row("SDE transfer + DepthMix", "mix=depth,depth=feature_distance,multitask=false"),
            Row("Full method, random labels", FULL),
            Row("Full method, selected labels", f"{FULL},selection=ds_us"),
        ),
        (100, 372, 744, 0),
    ),
    "selection": Table(
        "Data selection for annotation: the supervised baseline on the chosen frames (Table 1)",
        (
            Row("Random", BASELINE),
            Row("Entropy (labels in the loop)", f"{BASELINE},selection=entropy"),
            Row("Uncertainty", f"{BASELINE},selection=uncertainty"),
            Row("Diversity", f"{BASELINE},selection=diversity"),
            Row("Diversity + uncertainty", f"{BASELINE},selection=ds_us"),
        ),
        (25, 50, 100, 200, 372, 744),
    ),
    "transfer": Table(
        "What the depth network gives, with labelled images alone (Sec. 3.3)",
        (
            Row("Supervised baseline", BASELINE),
            Row("SDE transfer", "mix=supervised,depth=transfer,multitask=false"),
            Row("+ feature distance", "mix=supervised,depth=feature_distance,multitask=false"),
            Row("+ multi-task (PAD)", "mix=supervised,depth=feature_distance,multitask=true"),
        ),
        (100, 372, 744, 2975),
    ),
    "ablation": Table(
        "Ablation of the components, without data selection (Table 7)",
        (
            Row("Supervised baseline", BASELINE),
            Row("SDE transfer", "mix=supervised,depth=transfer,multitask=false"),
            Row("SDE transfer + feature distance", "mix=supervised,depth=feature_distance,multitask=false"),
            Row("SDE transfer + multi-task", "mix=supervised,depth=feature_distance,multitask=true"),
            Row("Pseudo-labels", "mix=none,depth=none,multitask=false"),
            Row("ClassMix", "mix=class,depth=none,multitask=false"),
            Row("DepthMix", "mix=depth,depth=none,multitask=false"),
            Row("SDE transfer + pseudo-labels", "mix=none,depth=feature_distance,multitask=false"),
            Row("SDE transfer + ClassMix", "mix=class,depth=feature_distance,multitask=false"),
            Row("SDE transfer + DepthMix", "mix=depth,depth=feature_distance,multitask=false"),
            Row("SDE transfer + multi-task + DepthMix", FULL),
        ),
        (100, 372, 744, 2975),
    ),
    "depth": Table(
        "Quality of the depth as an independent variable (Table 9)",
        (
            Row("Supervised baseline", BASELINE),
            Row("SDE on all frames", "mix=depth,depth=feature_distance,multitask=false"),
            Row("SDE on 10 % of the frames", "mix=depth,depth=feature_distance,multitask=false,frames=0.1"),
            Row("SDE on 1 %", "mix=depth,depth=feature_distance,multitask=false,frames=0.01"),
            Row("SDE on 0.1 %", "mix=depth,depth=feature_distance,multitask=false,frames=0.001"),
            Row("Supervised depth", "mix=depth,depth=supervised,multitask=false"),
        ),
        (372,),
        depth_metrics=("abs_rel", "rmse", "a1"),
    ),
    "mixing": Table(
        "Ways of mixing, with the weights and the disparity of the depth network",
        (
            Row("Supervised baseline", BASELINE),
            Row("Pseudo-labels without mixing", "mix=none,depth=feature_distance,multitask=false"),
            Row("CutMix", "mix=cut,depth=feature_distance,multitask=false"),
            Row("ClassMix", "mix=class,depth=feature_distance,multitask=false"),
            Row("DepthMix, stored disparity", "mix=depth,depth=feature_distance,multitask=false"),
            Row("DepthMix, the student's own disparity", FULL),
        ),
        (372, 2975),
    ),
    "camvid": Table(
        "CamVid with depth learned on Cityscapes (Table 11)",
        (
            Row("Supervised baseline", "mix=supervised,depth=none"),
            Row("SDE transfer", "mix=supervised,depth=feature_distance"),
            Row("ClassMix", "mix=class,depth=none"),
            Row("SDE transfer + DepthMix", "mix=depth,depth=feature_distance"),
        ),
        (50, 100, 367),
        config="configs/camvid.py",
    ),
    "camvid_random": Table(
        "CamVid from random weights, with depth learned on its own clip",
        (
            Row("Supervised baseline", "mix=supervised,depth=none"),
            Row("Pseudo-labels", "mix=none,depth=none"),
            Row("ClassMix", "mix=class,depth=none"),
            Row("CutMix", "mix=cut,depth=none"),
            Row("SDE transfer", "mix=supervised,depth=transfer"),
            Row("SDE transfer + DepthMix", "mix=depth,depth=transfer"),
        ),
        (50, 100, 0),
        config="configs/camvid.py:size=small,encoder=resnet18_quarter",
    ),
    "steps": Table(
        "How much training the method needs",
        (
            Row("Supervised baseline, 1000 steps", BASELINE),
            Row("SDE transfer + DepthMix, 1000 steps", "mix=depth,depth=transfer,multitask=false"),
            Row("Supervised baseline, 3000 steps", f"{BASELINE},steps=3000"),
            Row("SDE transfer + DepthMix, 3000 steps", "mix=depth,depth=transfer,multitask=false,steps=3000"),
            Row("Full method, 1000 steps", COTRAINED),
            Row("Full method, 3000 steps", f"{COTRAINED},steps=3000"),
        ),
        (16,),
        config="configs/streets.py",
    ),
    "cotraining": Table(
        "Co-training depth, and what mixing gains then",
        (
            Row("Supervised baseline", BASELINE),
            Row("SDE transfer", "mix=supervised,depth=transfer,multitask=false"),
            Row("+ DepthMix", "mix=depth,depth=transfer,multitask=false"),
            Row("SDE transfer + multi-task", COTRAINED_ALONE),
            Row("+ DepthMix by the student's own disparity (full method)", COTRAINED),
            Row("SDE transfer + multi-task, depth loss x 10", f"{COTRAINED_ALONE},depth_weight=1.0"),
            Row("+ DepthMix by the student's own disparity", f"{COTRAINED},depth_weight=1.0"),
            Row("+ DepthMix by stored disparity", f"{COTRAINED},disparity=stored,depth_weight=1.0"),
            Row("The same without the depth loss", f"{COTRAINED},disparity=stored,depth_weight=0.0"),
        ),
        (8,),
        config="configs/streets.py",
    ),
    "adaptation": Table(
        "Semi-supervised domain adaptation by number of target labels (Table 12)",
        (
            Row("Target alone", TARGET_ALONE),
            Row("Source and target labels", SOURCE),
            Row("Full method, random labels", f"{MATCHED},{FULL}"),
        ),
        (100, 200, 500, 2975),
        config="configs/gta5_to_cityscapes.py",
    ),
    "adaptation_ablation": Table(
        "Ablation of domain adaptation (Table 14)",
        (
            Row("Target alone", TARGET_ALONE),
            Row("SD", SOURCE),
            Row("SD + MTL", f"{UNMIXED},mix=supervised,depth=feature_distance,multitask=true"),
            Row("SD + TDM", f"{UNMIXED},mix=depth,depth=none,multitask=false"),
            Row("SD + S", f"{SOURCE},selection=ds_us"),
            Row("SD + CDM", "source=true,cross=depth,matching=false,mix=supervised,depth=none,multitask=false"),
            Row("SD + CDM + TDM", "source=true,cross=depth,matching=false,mix=depth,depth=none,multitask=false"),
            Row("SD + CDM + TDM + MG", f"{MATCHED},mix=depth,depth=none,multitask=false"),
            Row("All", f"{MATCHED},{FULL},selection=ds_us"),
        ),
        (100,),
        config="configs/gta5_to_cityscapes.py",
    ),
    "adaptation_mixing": Table(
        "Mixing across domains: DACS and Cross-Domain DepthMix (Tables 16, 17)",
        (
            Row("SD", SOURCE),
            Row("DACS (ClassMix)", "source=true,cross=class,matching=false,mix=supervised,depth=none,multitask=false"),
            Row("DACS + MG", "source=true,cross=class,matching=true,mix=supervised,depth=none,multitask=false"),
            Row("CDM", "source=true,cross=depth,matching=false,mix=supervised,depth=none,multitask=false"),
            Row("CDM + MG", f"{MATCHED},{BASELINE}"),
        ),
        (100, 500),
        config="configs/gta5_to_cityscapes.py",
    ),
}
"""Name -> table. Rows of several tables that have the same argument share a run."""


def is_streets(config_file: str) -> bool:
    """Whether a config (FILE or FILE:ARGUMENTS) uses the embedded dataset."""
    return pathlib.PurePath(config_file.partition(":")[0]).stem.endswith("streets")


def has_feature_distance(config_file: str) -> bool:
    """Whether a config's depth=feature_distance is another network than depth=transfer.

    Small networks, and Vision Transformers, learn depth without the feature distance.
    """
    arguments = config_file.partition(":")[2].split(",")
    without = "size=small" in arguments or any(one.startswith("encoder=dino") for one in arguments)
    return not (without or is_streets(config_file))


def selection_depth(config_file: str) -> str:
    """Returns the config argument `depth` of the depth network from which the data selection takes its features."""
    return "feature_distance" if has_feature_distance(config_file) else "transfer"


def rows_for(table: Table, config_file: str) -> tuple[Row, ...]:
    """Returns the rows that a config can run.

    Without feature distance, rows use "transfer" instead, and rows that then equal another are left out. A thousandth
    of Streets' 800 frames is less than a batch, so it uses four frames.
    """
    rows = {}
    for row in table.rows:
        name, argument = row.name, row.argument
        if not has_feature_distance(config_file):
            argument = argument.replace("feature_distance", "transfer")
        if is_streets(config_file):
            name, argument = name.replace("0.1 %", "0.5 %"), argument.replace("frames=0.001", "frames=0.005")
        rows.setdefault(argument, Row(name, argument))
    return tuple(rows.values())
