"""Job `dataset`: checks that the datasets are prepared before anything is computed, and generates Streets."""

import logging

from sdeseg_jax.data import datasets
from sdeseg_jax.runs import open_datasets
from sdeseg_jax.runs.dataset_checks import check_datasets, learns_source_depth, needs_source
from sdeseg_jax.runs.error_list import Problems
from sdeseg_jax.runs.workdir import Workdir


def run_job(config, workdir: Workdir) -> None:
    """Opens the datasets of `config.data`, `video` and `source`; generates procedural ones that do not exist yet.

    Raises:
      UserError: what `check_datasets` finds for the stages of the pipeline.
    """
    stages, problems = config.pipeline.stages, Problems()
    with workdir.stage("dataset", config) as metrics:
        check_datasets(config, workdir, stages, problems)
        problems.raise_any()
        if "evaluate" in stages and open_datasets.open_evaluation(config) is None:
            logging.getLogger(__name__).warning(
                "%s has no validation split: nothing will be scored (a folder's validation.txt names what to score on)",
                config.data.name,
            )
        sections = {"data": config.data, "video": config.video}
        if needs_source(config, stages):
            sections["source"] = config.source
        if learns_source_depth(config, workdir, stages):
            sections["source.video"] = config.source.video
        for key, section in sections.items():
            if section.name:
                options = section.options.to_dict()
                builder = datasets.prepare(section.name, config.data.data_dir, options, section.variant)
                sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
                metrics[key] = {"name": section.name, **sizes}
