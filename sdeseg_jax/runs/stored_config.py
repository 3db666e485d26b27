"""The config of an earlier run, for a command without --config: `--workdir=runs/mine --job=predict …`.

It can be named, too: `--config=sdeseg_jax/runs/stored_config.py:runs/mine`. Without a workdir it is the default config.
"""

import json
import pathlib

import ml_collections

from sdeseg_jax.config import BUILDER_OPTIONS, SETTINGS, ConfigError, UserError, default_config, flatten
from sdeseg_jax.config.suggestions import nearest

FILE = "config.json"
"""In a workdir: every setting of its newest run."""


def get_config(workdir: str = "") -> ml_collections.ConfigDict:
    """The config that `config.json` in a workdir holds.

    Raises:
      ConfigError: it cannot be read, or has settings that there are none of any more.
    """
    config = default_config()
    if not workdir:
        return config
    path = pathlib.Path(workdir).expanduser() / FILE
    try:
        stored = json.loads(path.read_text())["config"]
        known, stored = flatten(config), flatten(stored)
        split = {key: stored[one.split_from] for key, one in SETTINGS.items() if one.split_from in stored}
        stored = split | stored
        for key, value in stored.items():
            section = next((one for one in BUILDER_OPTIONS if key.startswith(f"{one}.")), None)
            if section is None and key not in known:
                raise UserError(f"{path} has the setting '{key}', which there is not{nearest(key, known)}")
            _set(config, key, value, unlocked=section is not None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise UserError(f"{path} cannot be read ({error!r}); name the config: --config=configs/...") from error
    return config


def _set(config, key: str, value, unlocked: bool) -> None:
    *sections, name = key.split(".")
    for section in sections:
        config = config[section]
    if isinstance(value, dict):  # empty: of options
        return
    with config.unlocked(), config.ignore_type():
        if unlocked or name in config:
            config[name] = _tuple(value)


def _tuple(value):
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
