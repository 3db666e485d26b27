"""Kills a small pipeline again and again, and compares what it ends with to a run that was left alone.

    python scripts/soak.py --folder=runs/soak --kills=30

Three of four times it is SIGKILL, else SIGTERM, at a random moment of a random kind: at any time, while a checkpoint is
written, as a stage hands over to the next, while the dataset is rendered. After each, no file in the workdir may be
half-written. What a run ends with has to be bit-equal: weights (the last and the best), statistics, optimizer, teacher,
disparity, labels, scores, records of the dataset.

Takes about half a minute per kill on two CPU cores. Ends with 1 if anything differs; folders are kept then.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works without installation, too

KINDS = ("time", "checkpoint", "hand-over", "dataset")
"""What a moment may be: any time, or right after something begins."""

CHECKPOINTS = tuple(
    f"{name}/{kind}" for name in ("depth", "baseline", "segmentation") for kind in ("checkpoints", "best")
)

GENTLE = 0.25
"""Share of SIGTERM, which ends a run with one of `STOPPED`: on request, before it listens, or when it is done."""

STOPPED = (75, -signal.SIGTERM, 0)

POLL = 0.005  # seconds


def parse_arguments(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Reads the command line: own arguments, and those that go to every run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="for workdirs, datasets and logs")
    parser.add_argument("--kills", type=int, default=30, help="how often")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--config", default=f"{ROOT / 'configs/streets.py'}:size=tiny", help="what is run")
    return parser.parse_known_args(argv)


class Run:
    """A pipeline in a workdir of its own, with a dataset of its own."""

    def __init__(self, folder: pathlib.Path, config: str, overrides: list[str]):
        self.workdir, self.data, self.log = folder / "run", folder / "data", folder / "log.txt"
        folder.mkdir(parents=True)
        self._command = [
            sys.executable, "-m", "sdeseg_jax.main", f"--config={config}", f"--workdir={self.workdir}",
            f"--config.data.data_dir={self.data}", *overrides,
        ]  # fmt: skip

    def start(self) -> subprocess.Popen:
        """Starts it, or goes on with it."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": path}, start_new_session=True
            )

    def records(self) -> dict[str, int]:
        """Time of change of every record of a stage."""
        return {str(path): path.stat().st_mtime_ns for path in self.workdir.glob("**/stage.json")}

    def checkpoints(self) -> set[str]:
        """Checkpoints that are being written."""
        return {str(path) for path in self.workdir.glob("*/checkpoints/*.orbax-checkpoint-tmp*")}

    def renders(self) -> bool:
        """Whether the dataset is being rendered."""
        return any(self.data.glob("*/*/incomplete.*"))


def wait_for(kind: str, run: Run, process: subprocess.Popen, rng: random.Random, seconds: float) -> str:
    """Returns when the moment has come, or the process has ended; says which moment it became."""
    end, records, checkpoints = time.monotonic() + rng.uniform(0, seconds), run.records(), run.checkpoints()
    while process.poll() is None:
        if kind == "checkpoint" and run.checkpoints() - checkpoints:
            time.sleep(rng.uniform(0, 0.05))
            return kind
        if kind == "hand-over" and run.records() != records:
            records = run.records()
            if rng.random() < 0.5:  # else the next one
                time.sleep(rng.uniform(0, 0.2))
                return kind
        if kind == "dataset" and run.renders():
            time.sleep(rng.uniform(0, 2))
            return kind
        if kind == "time" and time.monotonic() > end:
            return kind
        if kind == "dataset" and run.workdir.joinpath("dataset/stage.json").exists():
            kind = "time"  # it is there already
        time.sleep(POLL)
    return "end"


def half_written(run: Run) -> Iterator[str]:
    """Files that would be taken for whole, but are not."""
    import numpy as np
    from PIL import Image

    for path in run.workdir.rglob("*"):
        inside = path.relative_to(run.workdir).parts
        if not path.is_file() or any(".orbax-checkpoint-tmp" in part or ".tmp" in part for part in inside):
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".png":
                with Image.open(path) as image:
                    image.load()
            elif path.suffix == ".npy" and path.name != "raw.npy":  # which has a mark of progress beside it
                np.load(path, mmap_mode="r")
            elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
                raise ValueError("no end")
        except (OSError, ValueError) as error:
            yield f"{path}: {error}"


def results(run: Run) -> dict[str, object]:
    """Everything that has to be equal, by name."""
    import jax
    import numpy as np
    import tensorflow_datasets as tfds

    from sdeseg_jax.training.checkpoints import Checkpoints

    found: dict[str, object] = {}
    for name in CHECKPOINTS:
        folder = run.workdir / name
        if not folder.is_dir():
            continue
        with Checkpoints(folder) as checkpoints:
            steps = checkpoints.steps()
            shapes = checkpoints.stored(steps[-1])
            state = checkpoints.restore(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
        for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
            found[f"{name}{jax.tree_util.keystr(path)}"] = np.asarray(leaf).tobytes()
    for path in sorted(run.workdir.glob("disparity/**/*.png")):
        found[str(path.relative_to(run.workdir))] = path.read_bytes()
    for path in sorted([*run.workdir.glob("*/labeled.json"), run.workdir / "metrics.json"]):
        if path.exists():
            found[str(path.relative_to(run.workdir))] = {
                key: value for key, value in json.loads(path.read_text()).items() if key not in ("seconds", "command")
            }
    for path in sorted(run.data.glob("*/*/*/dataset_info.json")):
        builder = tfds.builder_from_directory(str(path.parent))
        for split in builder.info.splits:
            # What is in the records: the files are not the same each time they are written.
            for number, record in enumerate(builder.as_data_source(split)):
                for name, value in record.items():
                    found[f"{path.parent.name}/{split}/{number}/{name}"] = np.asarray(value).tobytes()
    return found


def soak(folder: pathlib.Path, kills: int, seed: int, config: str, overrides: list[str]) -> list[str]:
    """Runs, kills, compares; returns what is wrong."""
    rng, problems = random.Random(seed), []
    whole = Run(folder / "whole", config, overrides)
    print("a run that is left alone", flush=True)
    if code := whole.start().wait():
        return [f"the run that was left alone ended with {code}, see {whole.log}"]
    # Its programs are compiled now: the time of another run is what moments are drawn from.
    began, again = time.monotonic(), Run(folder / "again", config, overrides)
    if code := again.start().wait():
        return [f"a second run ended with {code}, see {again.log}"]
    seconds, expected = time.monotonic() - began, results(whole)
    problems += compare(expected, results(again), "a second run that was left alone")
    print(f"  {seconds:.0f} seconds with compiled programs; {len(expected)} results", flush=True)
    done, number = 0, 0
    while done < kills:
        before = len(problems)
        run, ended, number = Run(folder / f"killed_{number}", config, overrides), False, number + 1
        while done < kills and not ended:
            process, kind = run.start(), rng.choice(KINDS)
            moment = wait_for(kind, run, process, rng, seconds)
            ended = process.poll() is not None
            gentle = rng.random() < GENTLE
            if not ended:
                os.killpg(process.pid, signal.SIGTERM if gentle else signal.SIGKILL)
                done += 1
            code = process.wait()
            if not ended and gentle and code not in STOPPED:
                problems.append(f"{run.workdir}: ended with {code} on SIGTERM, see {run.log}")
            stage = [line for line in run.log.read_text(errors="replace").splitlines() if line.startswith("[")]
            how = "over before" if ended else "SIGTERM" if gentle else "SIGKILL"
            print(f"{done}: {how}, {moment}: {stage[-1] if stage else 'before any stage'}", flush=True)
            if ended and process.returncode:
                return [*problems, f"a continued run ended with {process.returncode}, see {run.log}"]
            problems += half_written(run)
        if not ended and (code := run.start().wait()):
            return [*problems, f"a continued run ended with {code}, see {run.log}"]
        problems += half_written(run)
        problems += [f"{path} is left over" for path in (*run.data.glob("*/*/incomplete.*"), *run.checkpoints())]
        problems += [f"{path} is left over" for path in run.workdir.rglob("*.tmp")]
        problems += compare(expected, results(run), str(run.workdir))
        print(
            f"{run.workdir}: {'as the run that was left alone' if len(problems) == before else 'NOT as it should be'}",
            flush=True,
        )
    return problems


def compare(expected: dict[str, object], found: dict[str, object], what: str) -> list[str]:
    """What differs, as lines."""
    names = sorted(expected.keys() | found.keys())
    different = [name for name in names if expected.get(name) != found.get(name)]
    return [f"{what}: {len(different)} of {len(names)} results differ, e.g. {different[:3]}"] if different else []


def main() -> None:
    """Ends with 1 if anything is wrong."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments, overrides = parse_arguments()
    folder = arguments.folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"--folder={folder} is not empty")
    began = time.monotonic()
    evaluated = "--config.runtime.evaluate_every=2"  # so that there are best weights
    problems = soak(folder, arguments.kills, arguments.seed, arguments.config, [evaluated, *overrides])
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{arguments.kills} kills: every run ended as the one that was left alone; no file was half-written")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
