"""The report's section on domain adaptation: target frames, source candidates in the order of G, and their mixes."""

import dataclasses

import numpy as np

from sdeseg_jax.config import uses_matching
from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.jobs.reporting.predict_shown_frames import in_batches, predict_pseudo_labels, read_frames
from sdeseg_jax.jobs.train import pool_frames
from sdeseg_jax.mixing import with_ground_truth
from sdeseg_jax.report import picture_sections
from sdeseg_jax.report.adaptation_panels import Target, cross_domain_rows, mix_candidates
from sdeseg_jax.report.html_markup import Html
from sdeseg_jax.report.shown_frames import pair_frames
from sdeseg_jax.runs import build_networks, labeled_frames, open_datasets, training_frames
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.initialization import load_variables

TARGETS = 2
"""Target frames that are shown: an annotated one and one that is not."""


def adaptation(config, workdir: Workdir) -> Html:
    """Source candidates and their mixes with target frames, as `train` makes them of crops."""
    settings, dataset = config.segmentation, open_datasets.open_training(config)
    labeled = labeled_frames.labeled_frames(config, dataset, workdir)
    frames = pair_frames(pool_frames(config, dataset, labeled), labeled, TARGETS // 2)
    source = open_datasets.open_source(config)
    stored = DisparityFolder(workdir.folder("estimate_depth"), dataset.split)
    source_stored = DisparityFolder(workdir.folder("estimate_source_depth"), source.split)
    rng, of_source = np.random.default_rng([config.seed, 12]), training_frames.source_frames(config, source)
    shown = config.source.n_candidates if uses_matching(config) else 1
    candidates = np.stack([rng.choice(of_source, min(shown, len(of_source)), replace=False) for _ in frames])
    for folder, names in (
        (stored, [dataset.index.ids[i] for i in frames]),
        (source_stored, [source.index.ids[i] for i in candidates.ravel()]),
    ):
        if absent := folder.missing(names):
            raise FileNotFoundError(f"{folder.path(absent[0])} does not exist")

    fields = ("image", "label", "disparity")
    batch = read_frames(dataset, frames, fields, stored)
    variables = load_variables(workdir.folder("train") / "checkpoints", "teacher")
    predict = predict_pseudo_labels(build_networks.segmentation_network(config))
    label, confidence, _ = in_batches(config, predict, variables, batch["image"])
    annotated = np.isin(frames, labeled)
    label, confidence = with_ground_truth(label, confidence, annotated, batch["label"].astype(np.int32))
    groups = []
    for i, frame in enumerate(frames):
        found = read_frames(source, candidates[i], fields, source_stored)
        found["disparity"] = found["disparity"][..., 0]
        size = tuple(min(sides) for sides in zip(dataset.image_size, source.image_size, strict=True))
        target = Target(
            dataset.index.ids[frame], bool(annotated[i]), batch["image"][i], np.asarray(label[i]),
            np.asarray(confidence[i]), batch["disparity"][i, ..., 0],
        )  # fmt: skip
        maps = ("image", "label", "confidence", "disparity")
        target = dataclasses.replace(target, **{name: middle(getattr(target, name), size, 0) for name in maps})
        ids, found = (
            [source.index.ids[j] for j in candidates[i]],
            {name: middle(found[name], size, 1) for name in fields},
        )
        mixes = mix_candidates(
            target, ids, found, settings.cross_mix, settings.mix_margin, settings.confidence_threshold,
            len(dataset.classes), config.seed,
        )  # fmt: skip
        groups.append(cross_domain_rows(target, mixes, dataset.classes))
    gap = workdir.record("train")["metrics"].get("geometric_difference")
    return picture_sections.adaptation_section(groups, settings.cross_mix, settings.mix_margin, dataset.classes, gap)


def middle(values: np.ndarray, size: tuple[int, int], axis: int) -> np.ndarray:
    """The middle of maps with height at some axis and width after it: domains may have images of different sizes."""
    for offset, wanted in enumerate(size):
        first = (values.shape[axis + offset] - wanted) // 2
        values = np.take(values, range(first, first + wanted), axis + offset)
    return values
