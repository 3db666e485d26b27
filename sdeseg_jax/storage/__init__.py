"""Files on disk: atomic writes, locks, and readable disk errors."""
