"""Measures the tests and writes tests/slow_tests.txt, the tests that the fast suite leaves out.

    python scripts/measure_tests.py [--limit=3] [--update]

Runs the whole suite. A test is slow if it takes more than --limit seconds of CPU time without its fixtures. A fixture
is slow if it takes more than three times as much; so are all tests that use it. With --update it runs the fast suite
alone, and adds what is slow in it. Tests in `KEPT` stay fast in any case.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable

ROOT = pathlib.Path(__file__).resolve().parents[1]
SLOW = ROOT / "tests" / "slow_tests.txt"

KEPT = ("tests/test_package.py::test_run_predict_and_the_core_from_another_folder",)
"""One tiny pipeline belongs into every run of the tests."""


FIXTURE = "fixture "
"""How names of fixtures begin."""


def slow_tests(times: Iterable[tuple[str, float]], limit: float) -> list[str]:
    """Returns names of slow fixtures, and of slow tests, without parameters.

    A fixture is slow if it takes longer than three times `limit`; a test if a case takes longer than `limit`, or all
    cases four times that.
    """
    cases = collections.defaultdict(list)
    for name, seconds in times:
        cases[name.partition("[")[0]].append(seconds)
    found = [name for name, all_ in cases.items() if _is_slow(name, all_, limit)]
    return sorted(name for name in found if name not in KEPT)


def _is_slow(name: str, seconds: list[float], limit: float) -> bool:
    if name.startswith(FIXTURE):
        return max(seconds) > 3 * limit
    return max(seconds) > limit or sum(seconds) > 4 * limit


def main() -> int:
    """Measures; returns the exit code of the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=3.0, help="seconds of CPU time (3)")
    parser.add_argument("--update", action="store_true", help="measure the fast suite, and add to the list")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = pathlib.Path(folder) / "times.jsonl"
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
        command += ["-m", "not slow"] if arguments.update else []
        code = subprocess.run(command, cwd=ROOT, env=os.environ | {"SDESEG_TEST_TIMES": str(times)}).returncode
        measured = [tuple(json.loads(line)) for line in times.read_text().splitlines()]
    before = set(SLOW.read_text().splitlines()) if arguments.update else set()
    SLOW.write_text("\n".join(sorted(before | set(slow_tests(measured, arguments.limit)))) + "\n")
    count, total = len(SLOW.read_text().splitlines()), sum(seconds for _, seconds in measured)
    print(f"{SLOW}: {count} slow tests and fixtures; {total:.0f} s of CPU time")
    return code


if __name__ == "__main__":
    sys.exit(main())
