"""Runs several checks and reports all problems together."""

from collections.abc import Callable
from typing import TypeVar

from sdeseg_jax.config import UserError
from sdeseg_jax.training.checkpoints import CheckpointError

T = TypeVar("T")


class Problems:
    """Collects what checks find.

    Attributes:
      found: message -> error, each message once.
    """

    def __init__(self):
        self.found: dict[str, Exception] = {}

    def collect(self, check: Callable[..., T], *arguments) -> T | None:
        """Calls `check(*arguments)`; returns its result, or None if it raises a problem."""
        try:
            return check(*arguments)
        except (UserError, CheckpointError) as error:
            self.add(error)
            return None

    def add(self, error: Exception) -> None:
        """Adds a problem."""
        self.found.setdefault(str(error), error)

    def raise_any(self) -> None:
        """Raises a single error as it is, several as one UserError with all messages."""
        errors = list(self.found.values())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            listed = "".join(f"\n- {message}".replace("\n", "\n  ") for message in self.found)
            raise UserError(f"{len(errors)} problems have to be solved first:{listed}") from errors[0]
