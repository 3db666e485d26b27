"""The report's section on domain adaptation: target frames, source candidates in the order of G, and their mixes."""

import numpy as np

from sdeseg_jax.config import uses_matching
from sdeseg_jax.jobs.reporting.predict_shown_frames import predict_in_batches, predict_pseudo_labels, read_frames
from sdeseg_jax.jobs.train import pool_frames, stored_disparities
from sdeseg_jax.mixing import with_ground_truth
from sdeseg_jax.report import picture_sections
from sdeseg_jax.report.adaptation_panels import Target, cross_domain_rows, mix_candidates
from sdeseg_jax.report.html_markup import Html
from sdeseg_jax.report.shown_frames import pair_frames
from sdeseg_jax.runs import build_networks, labeled_frames, open_datasets, training_frames
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.initialization import load_variables

TARGETS = 2
"""Number of target frames shown, half of them annotated."""


def adaptation(config, workdir: Workdir) -> Html:
    """Source candidates and their mixes with target frames, mixed as `train` mixes crops."""
    settings, dataset = config.segmentation, open_datasets.open_training(config)
    labeled = labeled_frames.labeled_frames(config, dataset, workdir)
    frames = pair_frames(pool_frames(config, dataset, labeled), labeled, TARGETS // 2)
    source = open_datasets.open_source(config)
    rng, of_source = np.random.default_rng([config.seed, 12]), training_frames.source_frames(config, source)
    shown = config.source.n_candidates if uses_matching(config) else 1
    candidates = np.stack([rng.choice(of_source, min(shown, len(of_source)), replace=False) for _ in frames])
    stored = stored_disparities(workdir, "estimate_depth", dataset, frames)
    source_stored = stored_disparities(workdir, "estimate_source_depth", source, candidates.ravel())

    fields = ("image", "label", "disparity")
    batch = read_frames(dataset, frames, fields, stored)
    variables = load_variables(workdir.folder("train") / "checkpoints", "teacher")
    predict = predict_pseudo_labels(build_networks.segmentation_network(config))
    label, confidence, _ = predict_in_batches(config, predict, variables, batch["image"])
    annotated = np.isin(frames, labeled)
    label, confidence = with_ground_truth(label, confidence, annotated, batch["label"].astype(np.int32))
    batch |= {"label": label, "confidence": confidence, "disparity": batch["disparity"][..., 0]}
    size = tuple(min(sides) for sides in zip(dataset.image_size, source.image_size, strict=True))
    groups = []
    for i, frame in enumerate(frames):
        found = read_frames(source, candidates[i], fields, source_stored)
        found["disparity"] = found["disparity"][..., 0]
        maps = {name: crop_middle(np.asarray(batch[name][i]), size, 0) for name in (*fields, "confidence")}
        target = Target(dataset.index.ids[frame], bool(annotated[i]), **maps)
        mixes = mix_candidates(
            target,
            ids=[source.index.ids[j] for j in candidates[i]],
            source={name: crop_middle(found[name], size, 1) for name in fields},
            kind=settings.cross_mix,
            margin=settings.mix_margin,
            threshold=settings.confidence_threshold,
            classes=len(dataset.classes),
            seed=config.seed,
        )
        groups.append(cross_domain_rows(target, mixes, dataset.classes))
    gap = workdir.record("train")["metrics"].get("geometric_difference")
    return picture_sections.adaptation_section(groups, settings.cross_mix, settings.mix_margin, dataset.classes, gap)


def crop_middle(values: np.ndarray, size: tuple[int, int], axis: int) -> np.ndarray:
    """Crops maps with height at `axis` and width after it: the domains' images may differ in size."""
    for offset, wanted in enumerate(size):
        first = (values.shape[axis + offset] - wanted) // 2
        values = np.take(values, range(first, first + wanted), axis + offset)
    return values
