"""The error for faults in a downloaded dataset."""

from sdeseg_jax.config import UserError


class SourceError(UserError):
    """The downloaded files are not as they should be; the message names the file and says what to do."""
