"""Learns depth from the first part of two real clips and writes scores on the rest to results/video.json.

    python scripts/prepare_data.py --dataset=camvid --source=CamVid --output=data --size=320x256
    python scripts/prepare_data.py --dataset=kitti_odometry --source=kitti_clip --output=data --size=416x128
    python scripts/video_evidence.py --data_dir=data --root=runs/video [--clip=camvid]

CamVid's clip is its validation split. KITTI's has 51 frames; kitti_clip/ is laid out like a sequence of the odometry
benchmark (`prepare_data.py --dataset=kitti_odometry --layout`). Finished runs are not repeated; after an interruption,
the same command resumes. It also draws panels of four held-out frames, results/<clip>_depth.jpg;
scripts/write_results.py puts both on the page. Takes 15 to 30 minutes per clip on two CPU cores.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Mapping

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works without installation, too
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from sdeseg_jax.commands.reproduction.running import STOPPED, Stopped, start, stop_requests_passed_on  # noqa: E402

FRAMES, QUALITY = 4, 78
"""Held-out frames per panel, and JPEG quality, which keeps the file below 250 kB."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """A real clip.

    Attributes:
      title: its name on the page.
      config: config file, may have arguments.
      overrides: settings, as on the command line.
      camera: frame rate and colour of its frames, as shown on the page.
      width: of each picture on the panel, pixels.
    """

    title: str
    config: str
    overrides: tuple[str, ...]
    camera: str
    width: int


CLIPS = {
    "camvid": Clip(
        title="CamVid",
        config="configs/camvid.py:size=small,encoder=resnet18_quarter",
        overrides=(
            '--config.pipeline.stages=("pretrain_depth","evaluate","report")',
            "--config.evaluation.split=validation[81:]",
        ),
        camera="15 Hz",
        width=240,
    ),
    "kitti_odometry": Clip(
        title="KITTI odometry",
        config="configs/kitti_odometry.py:size=small,encoder=resnet18_quarter,train=train[:41],test=train[41:]",
        overrides=(),
        camera="10 Hz, grey",
        width=320,
    ),
}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data_dir", required=True, help="folder of the prepared clips")
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder for workdirs, one per clip")
    parser.add_argument("--clip", choices=sorted(CLIPS), action="append", help="run this clip only; may be repeated")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "results", help="folder for scores and panels")
    return parser.parse_args(argv)


def clip_scores(video: Mapping, log: Mapping) -> dict[str, float]:
    """Returns the scores that the page shows, rounded, with units in their names.

    Args:
      video: the entry of a run's `metrics.json`.
      log: the last line of its depth training's metrics.
    """
    scores = {name: video[name] for name in ("photometric", "identity")}
    scores["picture_dependence"] = log["disparity/picture_dependence"]
    if motion := video.get("ego_motion"):
        scores["direction_error_degrees"] = motion["direction_error"]
    if path := video.get("trajectory"):
        for name, one in (("path", path), ("straight_ahead", path["straight_ahead"])):
            scores[f"{name}_error_of_5_frames_m"] = one["snippet_error"]
            scores[f"{name}_error_of_the_clip_percent"] = one["clip_percent"]
    return {name: round(value, 4) for name, value in scores.items()}


def shell_command(clip: Clip, data_dir: str, workdir: pathlib.Path) -> str:
    """Returns the command that runs a clip, to be pasted into a shell."""
    words = [f"--config={clip.config}", f"--workdir={workdir}", f"--config.data.data_dir={data_dir}", *clip.overrides]
    return "python -m sdeseg_jax.main " + shlex.join(words)


def draw_panel(config, workdir: pathlib.Path, path: pathlib.Path, width: int) -> str:
    """Draws held-out frames of a finished run into a JPEG file; returns a text with the numbers of frames.

    Args:
      config, workdir: of the run.
      path: of the JPEG file.
      width: of each picture, pixels.
    """
    from sdeseg_jax.data.input_pipeline import evaluation_batches
    from sdeseg_jax.drawing.panel_image import draw_sheet
    from sdeseg_jax.jobs.evaluating.depth_scores import VIDEO, predict_reprojection
    from sdeseg_jax.report.panels import reprojection_rows
    from sdeseg_jax.report.shown_frames import spread_frames
    from sdeseg_jax.runs import build_networks, open_datasets
    from sdeseg_jax.training.initialization import load_variables
    from sdeseg_jax.training.replication import round_up

    dataset = open_datasets.open_evaluation(config)
    frames = spread_frames(dataset.index.has_previous, FRAMES, dataset.index.with_neighbours)
    predict = predict_reprojection(config, build_networks.depth_network(config), maps=True)
    batch, count = next(iter(evaluation_batches(dataset, frames, round_up(len(frames)), VIDEO)))
    outputs = predict(load_variables(workdir / "depth" / "checkpoints"), {name: batch[name] for name in VIDEO})
    maps = (outputs[name][:count] for name in ("disparity", "warped", "identity"))
    rows = reprojection_rows([dataset.index.ids[i] for i in frames], batch["image"][:count] / 255, *maps)
    draw_sheet(rows, width).save(path, quality=QUALITY)
    return f"{len(open_datasets.open_video(config).index)} to learn from, {len(dataset.index)} to score on"


def record(name: str, data_dir: str, workdir: pathlib.Path, output: pathlib.Path) -> dict:
    """Draws the panel of a clip's finished run and returns the run's record."""
    from sdeseg_jax.runs.stored_config import get_config

    clip, panel, commit = CLIPS[name], output / f"{name}_depth.jpg", workdir / "commit.txt"
    output.mkdir(parents=True, exist_ok=True)
    frames = draw_panel(get_config(str(workdir)), workdir, panel, clip.width)
    metrics = json.loads((workdir / "metrics.json").read_text())
    stage = json.loads((workdir / "depth" / "stage.json").read_text())
    lines = (workdir / "depth" / "metrics.jsonl").read_text().splitlines()
    date = datetime.date.fromtimestamp((workdir / "depth" / "stage.json").stat().st_mtime)
    return {
        "name": clip.title,
        "config": clip.config,
        "command": shell_command(clip, data_dir, workdir),
        "device": stage.get("devices", "unknown"),
        "commit": commit.read_text().strip() if commit.exists() else "unknown",
        "date": date.isoformat(),
        "minutes": round(sum(metrics["seconds"].values()) / 60, 1),
        "frames": f"{frames}, {clip.camera}",
        "scores": clip_scores(metrics["video"], json.loads(lines[-1])),
        "panels": f"{output.name}/{panel.name}",
    }


def write(path: pathlib.Path, records: list[dict]) -> None:
    """Writes `video.json`; keeps the records of other clips."""
    known = json.loads(path.read_text())["clips"] if path.exists() else []
    clips = {one["name"]: one for one in (*known, *records)}
    path.write_text(json.dumps({"clips": list(clips.values())}, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Runs what is missing and writes the records of finished runs; returns the exit status."""
    arguments, failed, records = parse_arguments(argv), [], []
    try:
        with stop_requests_passed_on():
            for name in arguments.clip or CLIPS:
                clip, workdir = CLIPS[name], arguments.root / name
                overrides = (f"--config.data.data_dir={arguments.data_dir}", *clip.overrides)
                if (workdir / "metrics.json").exists() or start(clip.config, "", workdir, overrides):
                    records.append(record(name, arguments.data_dir, workdir, arguments.output))
                else:
                    failed.append(name)
    except Stopped:
        print("Stopped; the same command resumes.", file=sys.stderr)
        return STOPPED
    if records:
        write(arguments.output / "video.json", records)
        print(arguments.output / "video.json")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
