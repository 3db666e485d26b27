"""Several checks in a row: all that is wrong is said at once."""

from collections.abc import Callable
from typing import TypeVar

from sdeseg_jax.config import UserError
from sdeseg_jax.training.checkpoints import CheckpointError

T = TypeVar("T")


class Problems:
    """Collects what checks complain of.

    Attributes:
      found: messages, each once.
    """

    def __init__(self):
        self.found: list[str] = []
        self._errors: list[Exception] = []

    def collect(self, check: Callable[[], T]) -> T | None:
        """Calls a check; its result, or None if it complains."""
        try:
            return check()
        except (UserError, CheckpointError) as error:
            self.add(error)
            return None

    def add(self, error: Exception) -> None:
        """Adds a problem."""
        if str(error) not in self.found:
            self.found.append(str(error))
            self._errors.append(error)

    def raise_any(self) -> None:
        """Raises what was found: the error itself if it is one, else a ConfigError with all messages."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            listed = "".join(f"\n- {message}".replace("\n", "\n  ") for message in self.found)
            raise UserError(f"{len(self.found)} things have to be put right first:{listed}") from self._errors[0]
