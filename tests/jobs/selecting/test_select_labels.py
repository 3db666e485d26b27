"""The job from depth network to files: every method, interruptions, existing labels, and what it refuses.

The depth network has random weights and disparity is random: nothing here depends on their quality.
"""

import json
import shutil

import jax
import numpy as np
import pytest

from sdeseg_jax.config import UserError
from sdeseg_jax.jobs import load_job, pipeline, select_labels
from sdeseg_jax.jobs.selecting import compute_features, student_training
from sdeseg_jax.runs import build_networks, labeled_frames
from sdeseg_jax.runs.finished_stage_records import write_json
from sdeseg_jax.runs.frame_id_files import read_ids
from sdeseg_jax.runs.selection_candidates import find_candidates, selection_inputs
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.initialization import random_variables

SIZES = (4, 6, 8)


def run(config, workdir):
    load_job("select_labels")(config, workdir)
    return selections(workdir)


def selections(workdir):
    """Size -> content of `<size>.json`."""
    folder = workdir.folder("select_labels")
    return {int(path.stem): json.loads(path.read_text()) for path in folder.glob("[0-9]*.json")}


PROGRAMS = (
    (compute_features, "predict_features"),
    (student_training, "replicate"),
    (student_training, "replicate_inference"),
)
"""Module and name of what makes the compiled functions of a selection: features, a student's step, its errors."""


@pytest.fixture(scope="module")
def programs():
    """Name in PROGRAMS -> the compiled function of `finished`."""
    return {}


@pytest.fixture(scope="module")
def finished(make, stages, tmp_path_factory, programs):
    """Workdir of a selection by both criteria."""
    workdir = Workdir(tmp_path_factory.mktemp("finished"))
    for stage in ("pretrain_depth", "estimate_depth"):
        shutil.copytree(stages.folder(stage), workdir.folder(stage))

    def recording(name, original):
        return lambda *args, **more: programs.setdefault(name, original(*args, **more))

    with pytest.MonkeyPatch.context() as context:
        for module, name in PROGRAMS:
            context.setattr(module, name, recording(name, getattr(module, name)))
        load_job("select_labels")(make(), workdir)
    return workdir


@pytest.fixture
def compiled(finished, programs, monkeypatch):
    """Reuses the functions that `finished` compiled for the same networks and seed: tracing takes most of a test."""
    for module, name in PROGRAMS:
        monkeypatch.setattr(module, name, lambda *args, program=programs[name], **more: program)


def test_files_say_what_was_chosen_and_why(finished, dataset):
    found = selections(finished)
    assert tuple(sorted(found)) == SIZES and finished.finished("select_labels")
    last = found[8]
    assert last["ids"] == [pick["id"] for pick in last["picks"]] and len(set(last["ids"])) == 8
    assert (last["seed"], last["method"], last["existing"], last["split"]) == (0, "ds_us", 0, "train")
    assert last["config"]["selection.error_weight"] == 430.0
    for size in SIZES[:-1]:
        assert last["ids"][:size] == found[size]["ids"] and last["picks"][:size] == found[size]["picks"]
    assert [pick["step"] for pick in last["picks"]] == [4] * 4 + [6] * 2 + [8] * 2
    assert last["picks"][0]["criterion"] is None and last["picks"][1]["uncertainty"] is None
    for pick in last["picks"][1:4]:
        assert pick["criterion"] == pick["diversity"] > 0
    for pick in last["picks"][4:]:
        assert pick["criterion"] == pytest.approx(pick["diversity"] + pick["uncertainty"], rel=1e-5)
        assert pick["uncertainty"] == pytest.approx(430 * pick["student_error"]) and pick["student_error"] > 0
    assert set(dataset.positions(last["ids"])) <= set(dataset.index.with_neighbours)


def test_criteria_are_those_of_the_stored_features_and_errors(finished, dataset):
    """Eq. 2 and 4 once more, from the files."""
    folder, last = finished.folder("select_labels"), selections(finished)[8]
    features = np.load(folder / "features" / "features.npy").astype(np.float64)
    ids = json.loads((folder / "frames.json").read_text())["frames"]
    assert features.shape == (16, 4 * 8 * 8)
    errors = {n: np.load(folder / "students" / str(n) / "scores.npy") for n in (4, 6)}
    chosen = []
    for pick in last["picks"]:
        place = ids.index(pick["id"])
        if chosen:
            nearest = np.linalg.norm(features[:, None] - features[chosen], axis=-1).min(1)
            criterion = nearest + (430 * errors[pick["step"] - 2] if pick["step"] > 4 else 0)
            criterion[chosen] = -np.inf
            assert place == criterion.argmax() and pick["criterion"] == pytest.approx(criterion[place], rel=1e-4)
        chosen.append(place)
    channels = features.reshape(16 * 4 * 8, 8)
    varying = channels.std(0) > 0
    np.testing.assert_allclose(channels[:, varying].std(0, ddof=1), 1, rtol=1e-3)


def test_files_for_people(finished):
    names = {"contact_sheet.jpg", "criterion.png", "feature_space.png", "class_frequency.png", "class_frequency.json"}
    for size in SIZES:
        folder = finished.folder("select_labels") / str(size)
        assert {path.name for path in folder.iterdir()} == names
    classes = json.loads((folder / "class_frequency.json").read_text())["classes"]
    assert sum(one["share"] for one in classes.values()) == pytest.approx(1)
    assert not list(finished.folder("select_labels").rglob("*.tmp*"))
    assert not list(finished.folder("select_labels").rglob("checkpoints"))


def test_interrupted_anywhere_ends_where_the_whole_one_does(make, compiled, new_workdir, finished, monkeypatch):
    """In the middle of the features, of a student's training, and of the frames' scores; nothing is done twice."""
    workdir, computed = new_workdir(), []

    def failing(function, when):
        calls = iter(range(10**6))

        def wrapped(*args, **kwargs):
            if next(calls) == when:
                raise KeyboardInterrupt
            computed.append(function)
            return function(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(compute_features, "SAVE_EVERY", 1)
    original = compute_features.predict_features
    for module, name, make_wrapped in (
        (compute_features, "predict_features", lambda *a: failing(original(*a), 1)),
        (
            student_training,
            "replicate",
            lambda step, original=student_training.replicate, **more: failing(original(step, **more), 1),
        ),
        (
            student_training,
            "replicate_inference",
            lambda f, original=student_training.replicate_inference: failing(original(f), 1),
        ),
    ):
        with monkeypatch.context() as context:
            context.setattr(module, name, make_wrapped)
            with pytest.raises(KeyboardInterrupt):
                run(make(), workdir)
    folder = workdir.folder("select_labels")
    assert set(selections(workdir)) == {4} and not workdir.finished("select_labels")
    before = (folder / "4.json").stat().st_mtime_ns, (folder / "features" / "features.npy").stat().st_mtime_ns
    lines = (folder / "students" / "4" / "metrics.jsonl").read_text()
    assert run(make(), workdir) == selections(finished)
    assert before == ((folder / "4.json").stat().st_mtime_ns, (folder / "features" / "features.npy").stat().st_mtime_ns)
    assert (folder / "students" / "4" / "metrics.jsonl").read_text() == lines  # it was trained to its end


def test_students_start_from_the_weights_that_are_named(make, dataset, stages, tmp_path, monkeypatch):
    config = make()
    named = random_variables(build_networks.student_network(config), 5, config.data.crop)
    with Checkpoints(tmp_path / "weights") as checkpoints:
        checkpoints.save(1, {key: {"encoder": named[key]["encoder"]} for key in ("params", "batch_stats")})
    config.selection.init.encoder = str(tmp_path / "weights")
    monkeypatch.setattr(student_training, "run", lambda name, state, *others, **more: state)
    begun = student_training.Students("student_error", config, dataset, stages).train(np.arange(4), 2, tmp_path)[
        "params"
    ]
    jax.tree.map(np.testing.assert_array_equal, begun["encoder"], named["params"]["encoder"])
    same = jax.tree.map(np.array_equal, begun["depth_decoder"], named["params"]["depth_decoder"])
    assert not all(jax.tree.leaves(same))


def test_finished_selection_is_left_alone(make, finished, monkeypatch):
    monkeypatch.setattr(select_labels, "Selection", lambda *args: pytest.fail("a selection was begun"))
    monkeypatch.setattr(select_labels, "Students", lambda *args: pytest.fail("a student was made again"))
    monkeypatch.setattr(compute_features, "predict_features", lambda *args: pytest.fail("features were made again"))
    before = {path: path.stat().st_mtime_ns for path in finished.folder("select_labels").rglob("*")}
    run(make(), finished)
    run(make(selection__schedule=SIZES[:2], data__labels=6), finished)  # has all that is asked for
    assert {path: path.stat().st_mtime_ns for path in finished.folder("select_labels").rglob("*")} == before


def test_finished_selection_is_continued(make, compiled, new_workdir, finished):
    """As if it had been one from the start; its own steps stay."""
    workdir = new_workdir()
    run(make(selection__schedule=SIZES[:2], data__labels=6), workdir)
    step = workdir.folder("select_labels") / "6.json"
    before = step.read_bytes()
    assert not pipeline.is_finished(make(), workdir, "select_labels")
    found = run(make(), workdir)
    assert found[8]["picks"] == selections(finished)[8]["picks"] and step.read_bytes() == before
    assert pipeline.is_finished(make(), workdir, "select_labels")
    assert workdir.record("select_labels")["metrics"]["labels"] == {"4": 4, "6": 6, "8": 8}


@pytest.fixture
def copied(finished, new_workdir):
    """Workdir of the same selection, to change."""
    workdir = new_workdir()
    shutil.copytree(finished.folder("select_labels"), workdir.folder("select_labels"))
    return workdir


def test_a_list_that_is_gone_is_a_part_of_later_ones(make, compiled, copied, monkeypatch):
    """Even if other frames would be chosen now, e.g. on another device; a shorter schedule keeps later steps usable."""
    before = selections(copied)
    (copied.folder("select_labels") / "4.json").unlink()
    assert not pipeline.is_finished(make(), copied, "select_labels")
    with pytest.raises(UserError, match="4.json is missing; --job=select_labels writes it again"):
        labeled_frames.selection_file(copied, 4)
    monkeypatch.setattr(select_labels.Selection, "choose", lambda *args: pytest.fail("frames were chosen again"))
    found = run(make(selection__schedule=SIZES[:2], data__labels=6), copied)
    assert all(found[4][name] == before[4][name] for name in ("ids", "picks", "existing"))
    assert copied.record("select_labels")["metrics"]["labels"] == {"4": 4, "6": 6}
    assert not pipeline.is_finished(make(), copied, "select_labels")
    assert run(make(), copied)[8] == before[8] and labeled_frames.selection_file(copied, 8).exists()


def test_weights_that_students_began_with_may_be_gone_once_all_is_chosen(make, copied):
    config, path = make(), copied.folder("select_labels") / "stage.json"
    config.selection.init.encoder = str(copied.root / "nowhere")
    record = json.loads(path.read_text())
    record["config"]["selection.init.encoder"] = config.selection.init.encoder
    write_json(path, record)
    assert len(run(config, copied)) == len(SIZES)
    (copied.folder("select_labels") / "8.json").unlink()
    with pytest.raises(UserError, match="no checkpoint folder or file at .*nowhere"):
        run(config, copied)


def test_another_schedule_is_refused(make, finished):
    with pytest.raises(
        UserError, match=r"follows \(4, 6, 8\), now \(4, 7\): a selection can be continued, not changed"
    ):
        run(make(selection__schedule=(4, 7), data__labels=7), finished)


def test_a_selection_beside_annotated_frames_continues_theirs(make, new_workdir, finished):
    """A second selection beside the first four frames is the rest of a selection in one go."""
    first = finished.folder("select_labels") / "4.json"
    steps = ((4, 2), (6, 3))
    config = make(
        selection__schedule=(2, 4), selection__existing=str(first), selection__student_steps=steps, data__labels=8
    )
    workdir = new_workdir()
    found = run(config, workdir)
    assert found[4]["ids"] == selections(finished)[8]["ids"] and found[4]["existing"] == 4
    one, other = found[4]["picks"], selections(finished)[8]["picks"][4:]
    assert [{**pick, "step": 0} for pick in one] == [{**pick, "step": 0} for pick in other]
    assert workdir.record("select_labels")["metrics"]["labels"] == {"2": 6, "4": 8}
    assert labeled_frames.selection_file(workdir, 8).name == "4.json"


@pytest.mark.parametrize("method", ["entropy", "diversity", "uncertainty"])
def test_other_methods(make, new_workdir, finished, dataset, method, request):
    if method != "entropy":  # whose student is another network
        request.getfixturevalue("compiled")
    workdir = new_workdir()
    found = run(make(method), workdir)[8]
    assert len(set(found["ids"])) == 8 and found["method"] == method
    parts = [(pick["diversity"] is not None, pick["uncertainty"] is not None) for pick in found["picks"][4:]]
    assert set(parts) == {(method == "diversity", method != "diversity")}
    same_start = found["ids"][:4] == selections(finished)[8]["ids"][:4]
    assert same_start == (method != "entropy")
    for step in (6, 8):
        criteria = [pick["criterion"] for pick in found["picks"] if pick["step"] == step]
        assert criteria == sorted(criteria, reverse=True)
    if method == "entropy":
        assert all(0 < value < np.log(19) for value in criteria)
        assert not (workdir.folder("select_labels") / "features").exists()


def test_batch_size_of_the_features_changes_nothing(make, new_workdir, finished):
    workdir = new_workdir()
    found = run(make("diversity", estimate__batch_size=12, selection__schedule=(4,), data__labels=4), workdir)
    assert found[4]["ids"] == selections(finished)[4]["ids"]
    one, other = (np.load(w.folder("select_labels") / "features" / "features.npy") for w in (workdir, finished))
    np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=2e-3)


def test_random_selection_is_the_choice_by_seed(make, new_workdir, dataset):
    found = run(make("random"), new_workdir())
    for size in SIZES:
        by_seed = make("random", data__labels=size, data__labels_from="random")
        frames = labeled_frames.labeled_frames(by_seed, dataset, None)
        assert sorted(dataset.positions(found[size]["ids"])) == list(frames)


def test_another_seed_is_another_selection(make, new_workdir, finished):
    config = make()
    config.seed = 1
    workdir = new_workdir()
    for stage in ("pretrain_depth", "estimate_depth"):
        record = workdir.record(stage)
        record["config"]["seed"] = 1
        (workdir.folder(stage) / "stage.json").write_text(json.dumps(record))
    assert run(config, workdir)[4]["ids"] != selections(finished)[4]["ids"]


def test_train_takes_the_selection(make, finished, dataset):
    config = make(data__labels=6)
    chosen = labeled_frames.labeled_frames(config, dataset, finished)
    assert [dataset.index.ids[i] for i in chosen] == selections(finished)[6]["ids"]
    by_file = make(data__labels_from="random", data__labels_file=str(finished.folder("select_labels") / "6.json"))
    np.testing.assert_array_equal(labeled_frames.labeled_frames(by_file, dataset, finished), chosen)


def test_labels_that_are_no_step_are_refused(make, finished, dataset, tmp_path):
    with pytest.raises(UserError, match="config.data.labels: .*holds selections of 4, 6, 8 frames, not 5"):
        labeled_frames.labeled_frames(make(data__labels=5), dataset, finished)
    with pytest.raises(UserError, match="config.selection.schedule leads to 4, 6, 8 annotated frames, not 5"):
        load_job("dataset")(make(data__labels=5), Workdir(tmp_path))


def test_all_frames_of_a_video_can_be_chosen_from(make, compiled, new_workdir, dataset):
    """Except for the ends of clips."""
    found = run(make("diversity", selection__candidates="all"), new_workdir())
    assert set(dataset.positions(found[8]["ids"])) <= set(dataset.index.with_neighbours)


@pytest.fixture
def unfinished(finished, tmp_path):
    """A copy of the finished selection that lacks its last step."""
    workdir = Workdir(tmp_path / "unfinished")
    shutil.copytree(finished.root, workdir.root)
    (workdir.folder("select_labels") / "8.json").unlink()
    write_json(workdir.folder("select_labels") / "stage.json", workdir.record("select_labels") | {"finished": False})
    return workdir


def damage(content, how):
    if how == "cut":
        return json.dumps(content)[:40]
    if how == "list":
        return "[]"
    if how == "pick":
        return json.dumps(content | {"picks": content["picks"][:-1]})
    if how == "ids":
        return json.dumps(content | {"ids": content["ids"][::-1]})
    return json.dumps(content | {"picks": content["picks"][::-1], "ids": content["ids"][::-1]})


@pytest.mark.parametrize("how", ["cut", "list", "pick", "ids", "other"])
def test_damaged_step_is_named(make, compiled, finished, unfinished, how):
    path = unfinished.folder("select_labels") / "6.json"
    path.write_text(damage(json.loads(path.read_text()), how))
    with pytest.raises(UserError, match="6.json is damaged: .* Remove it and the lists of later steps"):
        run(make(), unfinished)
    path.unlink()
    assert run(make(), unfinished) == selections(finished)


@pytest.mark.parametrize("key", ["existing", "candidates", "frames", "depth_network"])
def test_what_a_selection_was_begun_with_must_stay(make, unfinished, key):
    """The list of existing labels, the dataset, or the depth network changed between two calls."""
    path = unfinished.folder("select_labels") / "frames.json"
    content = json.loads(path.read_text())
    write_json(path, content | {key: "other" if key == "depth_network" else [*content[key], "other"]})
    with pytest.raises(UserError, match="changed since the selection in .* was started; use another --workdir"):
        run(make(), unfinished)
    assert set(selections(unfinished)) == {4, 6}


def test_pipeline_does_not_take_a_finished_selection_of_other_frames_for_one_of_these(make, finished, tmp_path):
    """For example after the chosen frames were annotated and the dataset was prepared again."""
    workdir = Workdir(tmp_path / "run")
    shutil.copytree(finished.root, workdir.root)
    config = make()
    config.pipeline.stages = ("select_labels",)
    pipeline.run_job(config, workdir)
    path = workdir.folder("select_labels") / "frames.json"
    write_json(path, json.loads(path.read_text()) | {"candidates": ["train_0000_01"]})
    with pytest.raises(UserError, match="the frames to choose from changed since the selection"):
        pipeline.run_job(config, workdir)


def test_retrained_depth_network_has_another_fingerprint(make, new_workdir, dataset):
    workdir, config = new_workdir(), make("diversity")
    found = find_candidates(config, dataset)
    one = selection_inputs(config, dataset, found, workdir)
    checkpoints = workdir.folder("pretrain_depth") / "checkpoints"
    assert len(one["depth_network"]) == 64 and one == selection_inputs(config, dataset, found, workdir)
    shutil.rmtree(checkpoints)
    with Checkpoints(checkpoints) as new:
        new.save(1, random_variables(build_networks.depth_network(config), 0, config.data.crop))
    other = selection_inputs(config, dataset, found, workdir)
    assert one.pop("depth_network") != other.pop("depth_network") and one == other


def test_ids_are_read_as_labels(finished):
    assert read_ids(finished.folder("select_labels") / "8.json") == selections(finished)[8]["ids"]
