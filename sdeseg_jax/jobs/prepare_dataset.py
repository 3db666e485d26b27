"""Job `dataset`: makes the dataset ready before the stages that read it; Streets is generated here on first use."""

from sdeseg_jax.data import datasets
from sdeseg_jax.jobs.workdir import Workdir


def run_job(config, workdir: Workdir) -> None:
    """Prepares the dataset of `config.data`; returns at once if it is there."""
    with workdir.stage("dataset", config) as metrics:
        builder = datasets.prepare(config.data.name, config.data.data_dir, config.data.options.to_dict())
        metrics |= {name: split.num_examples for name, split in builder.info.splits.items()}
