"""The default config, made from the table of settings, and configs as flat dicts and JSON."""

import copy
import json

import ml_collections

from sdeseg_jax.config.all_settings import SETTINGS


def default_config() -> ml_collections.ConfigDict:
    """Returns the paper's settings (Sec. 4.2, 4.3) for Cityscapes at full size, every key present."""
    config = ml_collections.ConfigDict()
    for key, setting in SETTINGS.items():
        *sections, name = key.split(".")
        node = config
        for one in sections:
            if one not in node:
                node[one] = ml_collections.ConfigDict()
            node = node[one]
        node[name] = copy.deepcopy(setting.default)
    return config.lock()


def flatten(config, prefix: str = "") -> dict:
    """Flattens nested settings to {'section.key': value}."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, (ml_collections.ConfigDict, dict)) and len(value):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def to_json(config) -> dict:
    """Plain, JSON-able copy of a config (tuples become lists)."""
    return json.loads(json.dumps(config.to_dict(), default=list))
