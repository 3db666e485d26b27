"""In a checkout: the folder `configs/` beside this package, under the name that it has in an installed one."""

from sdeseg_jax.config.config_files import FOLDER

__path__ = [str(FOLDER)]
