"""Writes docs/settings.md, the reference page of all settings.

    python scripts/write_settings_page.py [--check]

--check writes nothing; it exits with 1 unless the page is what would be written.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
sys.path.insert(0, str(ROOT))  # works without installation, too

from sdeseg_jax.config.reference_page import settings_page  # noqa: E402
from sdeseg_jax.storage.atomic_files import atomic_write  # noqa: E402


def main(arguments: list[str]) -> int:
    """Writes or checks the page; returns the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    text = settings_page()
    if not arguments:
        atomic_write(PAGE, text)
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print("docs/settings.md is outdated: run python scripts/write_settings_page.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
