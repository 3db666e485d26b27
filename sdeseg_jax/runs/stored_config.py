"""The config of an earlier run, for a command without --config: `--workdir=runs/mine --job=predict …`.

It can also be named: `--config=sdeseg_jax/runs/stored_config.py:runs/mine`. Without a workdir it is the default config.
"""

import json
import pathlib

import ml_collections

from sdeseg_jax.config import BUILDER_OPTIONS, SETTINGS, UserError, default_config, flatten
from sdeseg_jax.config.suggestions import nearest

FILE = "config.json"
"""In a workdir: every setting of its newest run."""


def get_config(workdir: str = "") -> ml_collections.ConfigDict:
    """Returns the config in a workdir's `config.json`.

    Raises:
      UserError: the file cannot be read, or has settings that no longer exist.
    """
    config = default_config()
    if not workdir:
        return config
    path = pathlib.Path(workdir).expanduser() / FILE
    try:
        stored = json.loads(path.read_text())["config"]
        known, stored = flatten(config), flatten(stored)
        split = {key: stored[one.split_from] for key, one in SETTINGS.items() if one.split_from in stored}
        for key, value in (split | stored).items():
            is_option = any(key.startswith(f"{section}.") for section in BUILDER_OPTIONS)
            if not is_option and key not in known:
                raise UserError(f"{path} has the unknown setting '{key}'{nearest(key, known)}")
            _set(config, key, value, unlocked=is_option)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}); name the config: --config=configs/...") from error
    return config


def _set(config, key: str, value, unlocked: bool) -> None:
    *sections, name = key.split(".")
    for section in sections:
        config = config[section]
    if isinstance(value, dict):  # a section of options that is empty
        return
    with config.unlocked(), config.ignore_type():
        if unlocked or name in config:
            config[name] = _tuple(value)


def _tuple(value):
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
