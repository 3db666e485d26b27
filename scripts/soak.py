"""Kills a small pipeline again and again, and compares its results to those of an undisturbed run.

    python scripts/soak.py --folder=runs/soak --kills=30

Sends SIGKILL three times out of four, else SIGTERM, at a random moment: at any time, while a checkpoint is written, as
one stage hands over to the next, or while the dataset is rendered. After each kill, no file in the workdir may be
half-written. Final results have to be bit-equal: weights (last and best), statistics, optimizer, teacher, disparity,
labels, scores, records of the dataset.

Takes about half a minute per kill on two CPU cores. Exits with 1 and keeps its folders if anything differs.
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
"""Kinds of moments: any time, or right after something begins."""

CHECKPOINTS = tuple(
    f"{name}/{kind}" for name in ("depth", "baseline", "segmentation") for kind in ("checkpoints", "best")
)

GENTLE = 0.25
"""Share of SIGTERM."""

STOPPED = (75, -signal.SIGTERM, 0)
"""Exit codes after SIGTERM: stopped on request, before the handler was installed, or when the run was done."""

POLL = 0.005  # seconds


def parse_arguments(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Reads the command line: own arguments, and settings passed to every run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="for workdirs, datasets and logs")
    parser.add_argument("--kills", type=int, default=30, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--config", default=f"{ROOT / 'configs/streets.py'}:size=tiny", help="config of the runs")
    return parser.parse_known_args(argv)


class Run:
    """A pipeline with its own workdir and dataset."""

    def __init__(self, folder: pathlib.Path, config: str, overrides: list[str]):
        self.workdir, self.data, self.log = folder / "run", folder / "data", folder / "log.txt"
        folder.mkdir(parents=True)
        flags = f"--config={config}", f"--workdir={self.workdir}", f"--config.data.data_dir={self.data}"
        self._command = [sys.executable, "-m", "sdeseg_jax.main", *flags, *overrides]

    def start(self) -> subprocess.Popen:
        """Starts or resumes the pipeline."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": path}, start_new_session=True
            )

    def records(self) -> dict[str, int]:
        """Returns the modification time of every stage record."""
        return {str(path): path.stat().st_mtime_ns for path in self.workdir.glob("**/stage.json")}

    def checkpoints(self) -> set[str]:
        """Returns the checkpoints that are being written."""
        return {str(path) for path in self.workdir.glob("*/checkpoints/*.orbax-checkpoint-tmp*")}

    def renders(self) -> bool:
        """Whether the dataset is being rendered."""
        return any(self.data.glob("*/*/incomplete.*"))


def wait_for(kind: str, run: Run, process: subprocess.Popen, rng: random.Random, seconds: float) -> str:
    """Waits for the moment, or the end of the process; returns the kind of moment, or "end"."""
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
            kind = "time"  # already prepared
        time.sleep(POLL)
    return "end"


def half_written(run: Run) -> Iterator[str]:
    """Yields a message for each file that looks complete but is not."""
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
            elif path.suffix == ".npy" and path.name != "raw.npy":  # its progress is recorded next to it
                np.load(path, mmap_mode="r")
            elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
                raise ValueError("truncated")
        except (OSError, ValueError) as error:
            yield f"{path}: {error}"


def results(run: Run) -> dict[str, object]:
    """Returns everything that has to be equal, by name."""
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
            # Contents of the records: the files themselves differ each time.
            for number, record in enumerate(builder.as_data_source(split)):
                for name, value in record.items():
                    found[f"{path.parent.name}/{split}/{number}/{name}"] = np.asarray(value).tobytes()
    return found


def soak(folder: pathlib.Path, kills: int, seed: int, config: str, overrides: list[str]) -> list[str]:
    """Runs, kills and compares; returns the problems."""
    rng, problems = random.Random(seed), []
    whole = Run(folder / "whole", config, overrides)
    print("undisturbed run", flush=True)
    if code := whole.start().wait():
        return [f"the undisturbed run exited with {code}, see {whole.log}"]
    # Moments are drawn from the time of a second run, whose programs are already compiled.
    began, again = time.monotonic(), Run(folder / "again", config, overrides)
    if code := again.start().wait():
        return [f"the second undisturbed run exited with {code}, see {again.log}"]
    seconds, expected = time.monotonic() - began, results(whole)
    problems += compare(expected, results(again), "the second undisturbed run")
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
                problems.append(f"{run.workdir}: exited with {code} on SIGTERM, see {run.log}")
            stage = [line for line in run.log.read_text(errors="replace").splitlines() if line.startswith("[")]
            how = "finished" if ended else "SIGTERM" if gentle else "SIGKILL"
            print(f"{done}: {how}, {moment}: {stage[-1] if stage else 'before any stage'}", flush=True)
            if ended and process.returncode:
                return [*problems, f"a resumed run exited with {process.returncode}, see {run.log}"]
            problems += half_written(run)
        if not ended and (code := run.start().wait()):
            return [*problems, f"a resumed run exited with {code}, see {run.log}"]
        problems += half_written(run)
        left = *run.data.glob("*/*/incomplete.*"), *run.checkpoints(), *run.workdir.rglob("*.tmp")
        problems += [f"{path} is left over" for path in left]
        problems += compare(expected, results(run), str(run.workdir))
        print(f"{run.workdir}: {'as undisturbed' if len(problems) == before else 'DIFFERS'}", flush=True)
    return problems


def compare(expected: dict[str, object], found: dict[str, object], what: str) -> list[str]:
    """Returns a message with the number of differences; [] if everything is equal."""
    names = sorted(expected.keys() | found.keys())
    different = [name for name in names if expected.get(name) != found.get(name)]
    return [f"{what}: {len(different)} of {len(names)} results differ, e.g. {different[:3]}"] if different else []


def main() -> None:
    """Exits with 1 if there is a problem."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments, overrides = parse_arguments()
    folder = arguments.folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"--folder={folder} is not empty; choose another")
    began = time.monotonic()
    evaluated = "--config.runtime.evaluate_every=2"  # so that there are best weights
    problems = soak(folder, arguments.kills, arguments.seed, arguments.config, [evaluated, *overrides])
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{arguments.kills} kills: every run ended like the undisturbed one; no file was half-written")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
