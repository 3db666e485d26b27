"""Job `dataset`: makes sure that the datasets are ready before anything is computed; Streets is generated here."""

from sdeseg_jax.data import datasets
from sdeseg_jax.jobs.workdir import Workdir


def run_job(config, workdir: Workdir) -> None:
    """Opens the datasets of `config.data` and `config.video`; generates what is procedural and not there yet.

    Raises:
      ConfigError: a dataset is unknown or not prepared; says how to prepare it.
    """
    with workdir.stage("dataset", config) as metrics:
        for section in (config.data, config.video):
            if section.name:
                builder = datasets.prepare(
                    section.name, config.data.data_dir, section.options.to_dict(), section.variant
                )
                metrics[section.name] = {name: split.num_examples for name, split in builder.info.splits.items()}
