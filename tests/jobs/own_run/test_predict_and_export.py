"""With a run on own data: predict on a video and images → export → run the exports with other libraries."""

import json
import os
import pathlib
import subprocess
import sys
from fractions import Fraction

import jax
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from sdeseg_jax.config import UserError
from sdeseg_jax.data.classes import CITYSCAPES
from sdeseg_jax.data.input_pipeline import evaluation_batches
from sdeseg_jax.data.video_files import VideoWriter
from sdeseg_jax.inference.sliding_window import Inference
from sdeseg_jax.jobs import export, load_job
from sdeseg_jax.jobs import predict as predict_module
from sdeseg_jax.jobs.evaluating.segmentation_scores import predict_labels
from sdeseg_jax.jobs.export import ExportError, differences
from sdeseg_jax.jobs.predict import UnreadableInputError
from sdeseg_jax.runs import build_networks, open_datasets
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.storage.process_lock import only_process
from sdeseg_jax.training.checkpoints import CheckpointError
from sdeseg_jax.training.initialization import load_variables
from tests.compilation import QUICK

ROOT = pathlib.Path(__file__).parents[3]

predict, run_export = load_job("predict"), load_job("export")


def read(path):
    return np.asarray(Image.open(path))


def test_everything_is_predicted_beside_what_cannot_be_read(predicted, media):
    _, out, message = predicted
    assert message.startswith("2 of 5 inputs could not be predicted")
    assert "broken.mp4: cannot be read as a video" in message
    summary = json.loads((out / "predictions.json").read_text())
    found = summary["media"]
    assert sorted(found) == ["broken_jpg", "broken_mp4", "drive", "small", "upright"]
    assert summary["finished"] and summary["failed"] == 2 and summary["files"]["labels"].startswith("labels/<name>.png")
    assert "cannot be decoded" in found["broken_jpg"]["error"] and not found["broken_jpg"]["complete"]
    assert found["drive"]["frames"] == 6 and found["drive"]["complete"]
    frames = [f"drive/{number:06d}" for number in range(6)]
    for name, size in (*((name, (72, 128)) for name in frames), ("small", (32, 64)), ("upright", (128, 72))):
        label, disparity = read(out / "labels" / f"{name}.png"), read(out / "disparity" / f"{name}.png")
        assert label.shape == disparity.shape == size and label.max() < 19 and disparity.dtype == np.uint16
        for kind in ("overlays", "disparity_color"):
            assert read(out / kind / f"{name}.jpg").shape == (*size, 3)
        assert read(out / "confidence" / f"{name}.png").min() >= 65535 // 19
    assert found["upright"]["network_input"] == [64, 32] and found["upright"]["size"] == [128, 72]
    assert summary["model"]["depth"]["unit"] == "none: up to scale"
    assert summary["model"]["weights"].keys() == {"segmentation", "depth"}
    assert summary["model"]["classes"]["names"] == list(CITYSCAPES.names)
    assert "resized to about 2048 pixels" in summary["model"]["inference"]
    import av

    with av.open(str(out / "side_by_side" / "drive.mp4")) as video:
        shapes = [frame.to_ndarray(format="rgb24").shape for frame in video.decode(video=0)]
    assert shapes == 6 * [(72, 3 * 128, 3)]


def test_predictions_are_those_that_are_scored(run, predicted, media):
    config, workdir = run
    image = read(media / "small.png")
    network = build_networks.segmentation_network(config)
    variables = load_variables(workdir.folder("train") / "checkpoints")
    scored = predict_labels(network)(variables, np.stack(4 * [image]))[0]
    found = read(predicted[1] / "labels" / "small.png")
    assert (found != scored).mean() < 0.002  # ties between classes, at most
    depth = load_variables(workdir.folder("pretrain_depth") / "checkpoints")
    disparity = (
        build_networks.depth_network(config).apply(depth, image[None] / np.float32(255), train=False).disparities[0]
    )
    np.testing.assert_allclose(read(predicted[1] / "disparity" / "small.png") / 65535, disparity[0, ..., 0], atol=1e-4)


def test_a_second_call_does_only_what_is_missing_or_has_changed(run, predicted, media, capsys):
    config, out, _ = predicted
    inputs = {"input": [str(media / one) for one in ("small.png", "upright.png", "drive.mp4")], "output": str(out)}
    gone, kept = out / "labels" / "small.png", out / "labels" / "upright.png"
    gone.unlink()
    video, before = out / "side_by_side" / "drive.mp4", kept.stat().st_mtime_ns
    made = video.stat().st_mtime_ns
    predict(config, run[1], **inputs)
    assert gone.exists() and kept.stat().st_mtime_ns == before and video.stat().st_mtime_ns == made
    assert json.loads((out / "predictions.json").read_text())["failed"] == 0
    content, first = (media / "small.png").read_bytes(), read(out / "overlays" / "small.jpg")
    Image.fromarray(255 - read(media / "small.png")).save(media / "small.png")
    predict(config, run[1], **inputs)
    assert np.abs(read(out / "overlays" / "small.jpg").astype(int) - first).mean() > 10
    assert kept.stat().st_mtime_ns == before
    (media / "small.png").write_bytes(content)
    predict(config, run[1], **inputs)
    np.testing.assert_array_equal(read(out / "overlays" / "small.jpg"), first)


def test_names_of_other_files_are_not_taken(run, predicted, media, tmp_path):
    config, out, _ = predicted
    Image.fromarray(read(media / "small.png")).save(tmp_path / "small.png")
    with pytest.raises(UserError, match=r"predictions of other files under the same names(.|\n)*small: "):
        predict(config, run[1], input=[str(tmp_path / "small.png")], output=str(out))


@pytest.mark.parametrize("side_by_side", [False, True])
def test_a_video_that_breaks_off_is_told_of_every_time(run, media, tmp_path, side_by_side):
    config = run[0].copy_and_resolve_references()
    config.predict.update(files=("labels",), side_by_side=side_by_side)
    with VideoWriter(tmp_path / "long.mp4", Fraction(10)) as writer:
        for number in range(20):
            writer.write(np.random.default_rng(number).integers(0, 256, (32, 64, 3), np.uint8))
    fast = tmp_path / "fast.mp4"  # with its index first, so that a part of it can be read
    import av

    with (
        av.open(str(tmp_path / "long.mp4")) as whole,
        av.open(str(fast), "w", format="mp4", options={"movflags": "faststart"}) as copy,
    ):
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    fast.write_bytes(fast.read_bytes()[: fast.stat().st_size * 6 // 10])
    for _ in range(2):
        with pytest.raises(UnreadableInputError, match=r"fast.mp4: (ends after|cannot be read beyond)"):
            predict(config, run[1], input=[str(fast), str(media / "small.png")], output=str(tmp_path / "out"))
        entry = json.loads((tmp_path / "out" / "predictions.json").read_text())["media"]["fast"]
        assert 0 < entry["frames"] < 20 and not entry["complete"] and "error" in entry
        assert len(list((tmp_path / "out" / "labels" / "fast").iterdir())) == entry["frames"]
        assert not list((tmp_path / "out").rglob("*.mp4*"))


def test_what_is_shown_of_cut_and_trimmed_videos_is_predicted(run, tmp_path, caplog):
    config = run[0].copy_and_resolve_references()
    config.predict.update(files=("labels",))
    counts = {"trim_end.mp4": 20, "trim_start.mp4": 30, "hevc_cut15_mp4.mp4": 30, "hflip.mp4": 6}
    videos = [str(ROOT / "tests" / "data" / "videos" / name) for name in counts]
    with caplog.at_level("WARNING"):
        predict(config, run[1], input=videos, output=str(tmp_path / "out"))
    entries = json.loads((tmp_path / "out" / "predictions.json").read_text())["media"]
    for name, count in counts.items():
        entry = entries[pathlib.Path(name).stem]
        assert entry["complete"] and entry["frames"] == count and "error" not in entry
        assert ("notes" in entry) == (name != "hflip.mp4") == (name in caplog.text)


def test_an_interrupted_video_is_resumed(run, media, tmp_path, monkeypatch):
    config = run[0].copy_and_resolve_references()
    config.predict.files = ("labels",)
    arguments = {"input": [str(media / "drive.mp4")], "output": str(tmp_path / "out")}
    outputs = predict_module._Run._outputs

    def interrupted(self, inputs, size):
        monkeypatch.setattr(predict_module._Run, "_outputs", lambda *_: 1 / 0)
        return outputs(self, inputs, size)

    monkeypatch.setattr(predict_module._Run, "_outputs", interrupted)
    with pytest.raises(ZeroDivisionError):
        predict(config, run[1], **arguments)
    monkeypatch.setattr(predict_module._Run, "_outputs", outputs)
    first = tmp_path / "out" / "labels" / "drive" / "000000.png"
    before = first.stat().st_mtime_ns
    predict(config, run[1], **arguments)
    assert first.stat().st_mtime_ns == before and len(list(first.parent.iterdir())) == 6


def test_what_cannot_be_written_does_not_end_the_call(run, media, tmp_path):
    config = run[0].copy_and_resolve_references()
    config.predict.files = ("labels",)
    long = tmp_path / f"{'n' * 249}.png"
    Image.fromarray(read(media / "small.png")).save(long)
    with pytest.raises(UnreadableInputError, match="1 of 2 (.|\n)*cannot be written .File name too long"):
        predict(config, run[1], input=[str(long), str(media / "small.png")], output=str(tmp_path / "out"))
    assert (tmp_path / "out" / "labels" / "small.png").exists()


def test_mixed_sizes_fill_batches(run, media, tmp_path, monkeypatch):
    config = run[0].copy_and_resolve_references()
    config.predict.files = ("labels",)
    upright, lying = read(media / "upright.png"), read(media / "small.png")
    for number in range(8):
        Image.fromarray(upright if number % 2 else lying).save(tmp_path / f"{number}.png")
    sizes, outputs = [], predict_module._Run._outputs
    monkeypatch.setattr(
        predict_module._Run,
        "_outputs",
        lambda self, inputs, size: (sizes.append(len(inputs)), outputs(self, inputs, size))[1],
    )
    predict(config, run[1], input=[str(tmp_path)], output=str(tmp_path / "out"))
    assert sizes == [4, 4]
    label = read(tmp_path / "out" / "labels" / "1.png")
    assert label.shape == upright.shape[:2]
    np.testing.assert_array_equal(label, read(tmp_path / "out" / "labels" / "7.png"))


def test_one_call_at_a_time(run, predicted, media):
    config, out, _ = predicted
    with only_process(out / ".lock"), pytest.raises(UserError, match="is in use by another process"):
        predict(config, run[1], input=[str(media / "small.png")], output=str(out))


def test_other_weights_are_another_model(run, predicted, media):
    """For example those of a longer training: predictions of both must not mix."""
    config, out, _ = predicted
    other = config.copy_and_resolve_references()
    folder = run[1].folder("train") / "checkpoints"
    latest = max((one for one in folder.iterdir() if one.name.isdigit()), key=lambda one: int(one.name))
    aside = folder.parent / "aside"
    latest.rename(aside)
    try:
        with pytest.raises(UserError, match="predictions of another model.*weights"):
            predict(other, run[1], input=[str(media / "small.png")], output=str(out))
    finally:
        aside.rename(latest)


def test_windows_see_the_image_in_its_own_resolution(run, media, tmp_path):
    config = run[0].copy_and_resolve_references()
    config.evaluation.window = (32, 64)
    config.predict.files = ("labels", "disparity")
    predict(config, run[1], input=[str(media / "upright.png")], output=str(tmp_path / "out"))
    summary = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert summary["media"]["upright"]["network_input"] == [128, 72]
    assert "in their own resolution, windows of 32x64" in summary["model"]["inference"]
    label = read(tmp_path / "out" / "labels" / "upright.png")
    variables = load_variables(run[1].folder("train") / "checkpoints")
    scored = predict_labels(build_networks.segmentation_network(config), Inference(window=(32, 64)))
    wanted = scored(variables, np.stack(4 * [read(media / "upright.png")]))[0]
    assert label.shape == (128, 72) and (label != wanted).mean() < 0.002


def test_exports_equal_the_networks(run, exports):
    """In ONNX Runtime and plain JAX, without this package, on the frames of the dataset."""
    config, workdir = run
    dataset = open_datasets.open_training(config)
    batch, count = next(evaluation_batches(dataset, dataset.index.targets[:5], 5, ("image",)))
    images = batch["image"][:count]
    reference = export.reference_outputs(config, export.trained_model.load(config, workdir), images)
    session = onnxruntime.InferenceSession(str(exports / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    by_onnx = dict(zip(names, session.run(None, {"images": images}), strict=True))
    program = jax.export.deserialize(bytearray((exports / "stablehlo" / "model.stablehlo").read_bytes()))
    by_jax = jax.device_get(program.call(images))
    for found in (by_onnx, by_jax):
        assert set(found) == {"label", "confidence", "disparity"}
        assert np.std(found["disparity"]) > 1e-4 and np.std(found["confidence"]) > 1e-4
        assert max(differences(found, reference).values()) < 1e-4
        np.testing.assert_allclose(found["confidence"], by_jax["confidence"], atol=1e-4)
    # And these are what the networks' own modules say.
    variables = load_variables(workdir.folder("train") / "checkpoints")
    logits = build_networks.segmentation_network(config).apply(variables, images / np.float32(255), train=False).logits
    assert logits.shape[1:3] == (16, 32)  # half resolution: what is exported enlarges it
    np.testing.assert_array_equal(by_jax["label"].shape, (count, 32, 64))


def test_every_export_travels_with_its_classes_and_its_differences_are_kept(run, exports):
    record = json.loads((exports / "stage.json").read_text())
    assert record["finished"] and set(record["metrics"]) == {"weights", "stablehlo", "saved_model", "onnx"}
    assert all(value < 1e-4 for kind in record["metrics"].values() for value in kind.values())
    for kind in ("stablehlo", "saved_model", "onnx"):
        metadata = json.loads((exports / kind / "metadata.json").read_text())
        assert metadata["classes"]["names"] == list(CITYSCAPES.names) and metadata["image_size"] == [32, 64]
        assert metadata["depth"]["unit"] == "none: up to scale"
    again = load_variables(exports / "weights" / "segmentation")
    weights = load_variables(run[1].folder("train") / "checkpoints")
    jax.tree.map(np.testing.assert_array_equal, again, weights)


@pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
def test_predicting_with_an_exported_file(run, exports, predicted, media, tmp_path, kind):
    config, out, _ = predicted
    options = config.copy_and_resolve_references()
    options.predict.side_by_side = False
    inputs = [str(media / one) for one in ("small.png", "drive.mp4")]
    predict(options, None, input=inputs, output=str(tmp_path / "out"), model=str(exports / kind))
    assert (read(tmp_path / "out" / "labels" / "small.png") != read(out / "labels" / "small.png")).mean() < 0.002
    # Larger images: disparity is enlarged alike, labels by nearest neighbour.
    mine, theirs = (read(root / "disparity" / "drive" / "000004.png") / 65535 for root in (tmp_path / "out", out))
    np.testing.assert_allclose(mine, theirs, atol=1e-4)
    mine, theirs = (read(root / "labels" / "drive" / "000004.png") for root in (tmp_path / "out", out))
    assert mine.shape == theirs.shape and (mine != theirs).mean() < 0.3
    summary = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert f"exported file ({kind})" in summary["model"]["inference"] and summary["finished"]


def test_a_file_that_differs_is_not_kept(run, monkeypatch):
    """Weights change between the network and its file, as if the conversion were wrong."""
    config, workdir = run
    config = config.copy_and_resolve_references()
    config.export.formats, workdir = ("stablehlo",), _with_export_aside(workdir)
    honest = export.make_function(config, export.trained_model.load(config, workdir))

    def wrong(images):
        found = honest(images)
        return {**found, "disparity": found["disparity"] + 0.001}

    monkeypatch.setattr(export, "make_function", lambda *_: wrong)
    with pytest.raises(ExportError, match=r"stablehlo: the exported file differs from the network: disparity by 0.001"):
        run_export(config, workdir)
    assert not (workdir.folder("export") / "stablehlo").exists() and not workdir.finished("export")
    monkeypatch.setattr(export, "make_function", lambda *_: lambda images: {"label": honest(images)["label"][:, ::-1]})
    with pytest.raises(ExportError, match="returns"):
        run_export(config, workdir)


def _with_export_aside(workdir):
    """The same run with another export folder."""
    other = Workdir(workdir.root)
    other.borrowed = workdir.borrowed
    folder = other.folder

    def moved(stage):
        return workdir.root / "other_export" if stage == "export" else folder(stage)

    other.folder = moved
    return other


def test_exports_of_other_weights_do_not_stay(run, exports):
    """A later export of one format leaves others alone, as long as they are of the same weights."""
    config, workdir = run[0].copy_and_resolve_references(), run[1]
    config.export.formats = ("weights",)
    run_export(config, workdir)
    assert (exports / "onnx" / "model.onnx").exists()
    metadata = exports / "saved_model" / "metadata.json"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"weights": {"segmentation": "others"}}))
    run_export(config, workdir)
    assert not (exports / "saved_model").exists() and (exports / "onnx" / "model.onnx").exists()


def test_another_class_list_is_refused(run, media, tmp_path):
    config, workdir = run
    facts = workdir.folder("train") / "model.json"
    content = facts.read_text()
    changed = json.loads(content)
    changed["classes"]["names"][0] = "motorway"
    arguments = {"input": [str(media / "small.png")], "output": str(tmp_path / "out")}
    try:
        facts.write_text(json.dumps(changed))
        with pytest.raises(UserError, match=r"trained on other classes(.|\n)*there: .*motorway(.|\n)*now: .*road"):
            predict(config, workdir, **arguments)
        for key in ("names", "colors"):
            changed["classes"][key] = changed["classes"][key][:5]
        facts.write_text(json.dumps(changed))
        elsewhere = config.copy_and_resolve_references()
        elsewhere.data.data_dir = str(tmp_path)  # without the dataset, the facts that the training stored count
        with pytest.raises(CheckpointError, match=r"does not fit the config \(its number of classes"):
            predict(elsewhere, workdir, **arguments)
        facts.write_text("{")
        with pytest.raises(UserError, match="model.json cannot be read"):
            predict(config, workdir, **arguments)
    finally:
        facts.write_text(content)
    assert not (tmp_path / "out").exists()


def test_without_its_dataset_a_run_still_predicts(run, media, tmp_path):
    config = run[0].copy_and_resolve_references()
    config.data.data_dir = str(tmp_path / "gone")
    config.predict.files = ("labels",)
    predict(config, run[1], input=[str(media / "small.png")], output=str(tmp_path / "out"))
    assert read(tmp_path / "out" / "labels" / "small.png").shape == (32, 64)


def test_depth_alone(run, media, tmp_path):
    config = run[0].copy_and_resolve_references()
    config.predict.stage = "pretrain_depth"
    predict(config, run[1], input=[str(media / "small.png")], output=str(tmp_path / "out"))
    written = sorted(one.name for one in (tmp_path / "out").iterdir() if one.name[0] != ".")
    assert written == ["disparity", "disparity_color", "predictions.json"]
    config.predict.files = ("labels",)
    with pytest.raises(UserError, match="predicts none of .*; it can write disparity, disparity_color"):
        predict(config, run[1], input=[str(media / "small.png")], output=str(tmp_path / "other"))
    config.predict.stage = "baseline"
    with pytest.raises(UserError, match="config.predict.stage = 'baseline'.*no finished 'baseline'"):
        predict(config, run[1], input=[str(media / "small.png")], output=str(tmp_path / "other"))


def test_command_line_without_a_config(run, media, tmp_path):
    """As in the README; unreadable inputs give an exit code."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sdeseg_jax.main", f"--workdir={run[1].root}", "--job=predict"]
    command += ["--input", str(media / "small.png"), f"--input={media / 'broken.jpg'}", f"--output={out}"]
    command += ["--config.predict.files=('labels',)"]
    environment = os.environ | {"XLA_FLAGS": QUICK}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 2, result.stderr
    assert "1 of 2 inputs could not be predicted" in result.stderr and "Traceback" not in result.stderr
    assert read(out / "labels" / "small.png").shape == (32, 64)
