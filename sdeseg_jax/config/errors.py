"""Errors for people: what is wrong, where, and what to do."""

from collections.abc import Mapping

FLAG = "{flag}"
"""In a message: the setting's flag on the command line, `--config.data.crop`."""


class UserError(Exception):
    """Something that the user gave is wrong: a setting, a flag, a file. The message says what to do.

    Not a ValueError: while it loads a config file, ml_collections replaces those by its own.
    """


class ConfigError(UserError):
    """A setting is wrong.

    Attributes:
      key: of the setting, without the leading "config.": "data.crop".
      message: what is wrong, where, and what to do; `FLAG` in it stands for the setting's flag.
    """

    def __init__(self, key: str, message: str):
        super().__init__(key, message)
        self.key, self.message = key, message

    def __str__(self) -> str:
        return f"config.{self.key}: {self.message.replace(FLAG, f'--config.{self.key}')}"

    def moved(self, sections: Mapping[str, str]) -> "ConfigError":
        """Returns the same error under the key by which the user gave the setting; `sections` as for `moved_key`."""
        key = moved_key(self.key, sections)
        return self if key == self.key else type(self)(key, self.message)


def moved_key(key: str, sections: Mapping[str, str]) -> str:
    """Returns the key by which the user gave a setting.

    Args:
      key: by which the code knows it.
      sections: key, or section of keys, -> where it was given, e.g. {"model": "source.model"}. The longest that fits
        counts.
    """
    fitting = [one for one in sections if f"{key}.".startswith(f"{one}.")]
    longest = max(fitting, key=len, default="")
    return sections[longest] + key.removeprefix(longest) if fitting else key
