"""`python -m sdeseg_jax`, the same as `sdeseg`."""

import sys

from sdeseg_jax.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
