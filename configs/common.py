"""What config files share: the paper's defaults and the parsing of arguments after the colon."""

from sdeseg_jax.config import ConfigError, default_config
from sdeseg_jax.names import nearest

__all__ = ["default_config", "parse_arguments"]


def parse_arguments(argument: str | None, **defaults):
    """Parses 'labels=12,mix=none,baseline' into a copy of `defaults`.

    A bare name sets a boolean; values take the type of their default.

    Raises:
      ConfigError: an argument is unknown (the nearest valid name is given) or its value has the wrong type.
    """
    values = dict(defaults)
    for item in filter(None, (argument or "").split(",")):
        name, equals, text = item.partition("=")
        if name not in defaults:
            raise ConfigError(f"config argument '{name}' is unknown{nearest(name, defaults)}")
        kind = type(defaults[name])
        try:
            values[name] = {"": True, "true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError) as error:
            raise ConfigError(f"config argument '{item}' should be {name}=<{kind.__name__}>") from error
        if not equals and kind is not bool:
            raise ConfigError(f"config argument '{name}' needs a value: {name}=<{kind.__name__}>")
    return values
