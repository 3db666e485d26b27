"""`sdeseg import-weights`, from a checkout, also where it is not installed."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from sdeseg_jax.commands.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["import-weights", *sys.argv[1:]]))
