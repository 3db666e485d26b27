"""Every row of the tables: its config is valid, its pipeline reads, its step traces at full size."""

import json

import jax
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sdeseg_jax.configs.tables import TABLES, is_streets, rows_for

from sdeseg_jax.config import UserError, needs_disparity, needs_source_disparity, source_config, uses_pool, validate
from sdeseg_jax.configs import (
    camvid,
    cityscapes,
    gta5_to_cityscapes,
    streets,
    streets_source_to_streets,
    synthia_to_cityscapes,
)
from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.data.input_pipeline import training_batches
from sdeseg_jax.data.preparation import prepare_from_source
from sdeseg_jax.data.sample_order_and_crops import Stream
from sdeseg_jax.jobs import train
from sdeseg_jax.report.measured_results.tables_over_seeds import without_selection
from sdeseg_jax.runs import build_networks, labeled_frames, open_datasets, training_frames
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.depth_objective import depth_fields, make_depth_objective
from sdeseg_jax.training.optimizers_and_schedules import depth_optimizer, segmentation_optimizer
from sdeseg_jax.training.replication import AXIS, to_float
from sdeseg_jax.training.segmentation_objective import make_segmentation_objective
from sdeseg_jax.training.train_state import create_state
from sdeseg_jax.training.train_step import make_step

PAPER_SIZE = (cityscapes, camvid, gta5_to_cityscapes, synthia_to_cityscapes)
MODULES = {f"configs/{module.__name__.rpartition('.')[2]}.py": module for module in PAPER_SIZE}
ROWS = sorted(
    {
        (table.config.partition(":")[0], without_selection(row.argument))
        for table in TABLES.values()
        for row in table.rows
        if not is_streets(table.config)
    }
)
ALL_OF_ADAPTATION = without_selection(TABLES["adaptation_ablation"].rows[-1].argument)
ROWS += [("configs/synthia_to_cityscapes.py", f"{ALL_OF_ADAPTATION},classes={n}") for n in (13, 16)]
SIZE = (64, 32)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Four annotated frames in the layouts of Cityscapes, with video and stereo, and CamVid, prepared at 64x32."""
    root, rng = tmp_path_factory.mktemp("downloads"), np.random.default_rng(0)

    def save(name, values):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)

    def image(height=32):
        return rng.integers(0, 255, (height, 64, 3), np.uint8)

    for split, city in (("train", "aachen"), ("val", "ulm")):
        for name in (f"{city}_{n:06d}_000019" for n in range(4)):
            clip, frame = name[:-7], f"{split}/{city}/{name}"
            view = image()  # moves on by two pixels a frame; other noise in each would be cuts
            save(f"cityscapes/leftImg8bit/{frame}_leftImg8bit.png", np.roll(view, 2 * 19, axis=1))
            save(f"cityscapes/gtFine/{frame}_gtFine_labelIds.png", rng.integers(7, 12, (32, 64), np.uint8))
            save(f"cityscapes/disparity/{frame}_disparity.png", rng.integers(0, 9000, (32, 64)).astype(np.uint16))
            for n in range(18, 21):
                file = f"cityscapes/leftImg8bit_sequence/{split}/{city}/{clip}_{n:06d}_leftImg8bit.png"
                save(file, np.roll(view, 2 * n, axis=1))
            save(f"camvid/{split}/{name}.png", image())
            save(f"camvid/{split}annot/{name}.png", rng.integers(0, 12, (32, 64), np.uint8))
    road = np.repeat(np.repeat(image()[::8, ::8], 8, axis=0), 8, axis=1)  # blocks, which JPEG keeps
    for n in range(1, 11):
        save(f"gta5/images/{n:05d}.png", image())
        save(f"gta5/labels/{n:05d}.png", rng.integers(7, 12, (32, 64), np.uint8))
        save(f"synthia/RGB/{n:07d}.png", image(38))  # 1280 x 760 are its camera's
        channels = np.stack([rng.integers(1, 17, (38, 64)), np.zeros((38, 64)), np.zeros((38, 64))], -1)
        (root / "synthia/GT/LABELS").mkdir(parents=True, exist_ok=True)
        deep = tf.io.encode_png(channels.astype(np.uint16)).numpy()
        (root / f"synthia/GT/LABELS/{n:07d}.png").write_bytes(deep)
        save(f"gta5_video/train/img/001/001_{n:05d}.jpg", np.roll(road, 8 * n, axis=1))
    for dataset in ("cityscapes", "cityscapes_video", "camvid", "gta5", "gta5_video", "synthia"):
        source = {"cityscapes_video": "cityscapes"}.get(dataset, dataset)
        prepare_from_source(dataset, str(root / source), str(root / "data"), size=SIZE, processes=1)
    return str(root / "data")


@pytest.fixture
def make(prepared, tmp_path):
    """make(config file, argument) -> (config that reads the tiny data, workdir with disparities)."""

    def run(file, argument):
        config = MODULES[file].get_config(f"{argument},labels=4")
        validate(config)
        config.data.data_dir, config.data.crop, config.video.share = prepared, (32, 64), 1.0
        workdir = Workdir(tmp_path)
        datasets = {"estimate_depth": open_datasets.open_training(config)}
        if config.source.name:
            datasets["estimate_source_depth"] = open_datasets.open_source(config)
        for stage, dataset in datasets.items():
            folder = DisparityFolder(workdir.folder(stage), dataset.split)
            for frame in dataset.index.targets:
                folder.write(dataset.index.ids[frame], np.random.default_rng(frame).random((32, 64, 1), np.float32))
        return config, workdir

    return run


def trace(network, objective, optimizer, batches, teacher_decay=None, reference=False):
    """Shapes of (state, metrics) after one step on a device, with batches enlarged to the paper's crop."""
    full = (512, 512)

    def enlarge(x):
        size = full if x.ndim > 3 or x.ndim == 3 and x.shape[1:] == (32, 64) else x.shape[1:3]
        return jax.ShapeDtypeStruct((1, x.shape[0], *size, *x.shape[3:]), x.dtype)

    def start(key):
        images = jax.numpy.zeros((1, 64, 64, 3))
        variables = dict(network.init({"params": key, "dropout": key}, images, method="init_all"))
        encoder = {name: {"encoder": variables[name]["encoder"]} for name in ("params", "batch_stats")}
        return create_state(variables, optimizer, teacher_decay is not None, encoder if reference else None)

    step = make_step(objective, optimizer, 0, teacher_decay)
    mapped = jax.pmap(
        lambda state, batch: step(state, to_float(batch)), axis_name=AXIS, in_axes=(None, 0), out_axes=(None, None)
    )
    state = jax.eval_shape(start, jax.eval_shape(lambda: jax.random.key(0)))
    return state, jax.eval_shape(mapped, state, jax.tree.map(enlarge, batches))


TRACED = {}
"""Results of `trace` by what they depend on: rows that differ only in initial weights share a step."""


def traced_row(file, config, batches):
    """`trace` of a row's training; with the paper's encoder in one row with all terms, because that takes long."""
    settings = {key: value for key, value in config.segmentation.items() if not key.startswith("init_")}
    key = json.dumps([file, settings, sorted(batches), len(open_datasets.class_map(config))])
    if key not in TRACED:
        images = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
        paper = build_networks.segmentation_network(config)
        jax.eval_shape(lambda key, images: paper.init(key, images, method="init_all"), jax.random.key(0), images)
        if not (config.segmentation.multitask and file == "configs/gta5_to_cityscapes.py"):
            config.model.backbone = "resnet10"
        options, network = config.segmentation, build_networks.segmentation_network(config)
        decay = options.teacher_decay if uses_pool(options) else None
        objective = make_segmentation_objective(network, config)
        TRACED[key] = trace(network, objective, segmentation_optimizer(options), batches, decay)
    return TRACED[key]


def same_shapes(one, other):
    return jax.tree.map(lambda x: (x.shape, x.dtype), one) == jax.tree.map(lambda x: (x.shape, x.dtype), other)


@pytest.mark.parametrize("file, argument", ROWS)
def test_row_reads_its_batches_and_traces_its_step(make, file, argument):
    config, workdir = make(file, argument)
    options, dataset = config.segmentation, open_datasets.open_training(config)
    labeled = labeled_frames.labeled_frames(config, dataset, workdir)
    streams = train.make_streams(config, dataset, labeled, workdir)
    batches = next(training_batches(streams, config.data.crop, True, 0))
    before, (after, metrics) = traced_row(file, config, batches)
    assert same_shapes(before, after)
    terms = {name.removeprefix("loss/") for name in metrics if name.startswith("loss/")} - {"total"}
    switches = {
        "supervised": True,
        "pseudo_label": "mix=supervised" not in argument,
        "depth": options.multitask,
        "source": "source=true" in argument,
        "cross_domain": "cross=class" in argument or "cross=depth" in argument,
    }
    assert terms == {name for name, on in switches.items() if on}
    stored = "mix=depth" in argument and (not options.multitask or "source=true" in argument)
    matched = "matching=true" in argument
    stored = stored or "cross=depth" in argument
    assert ("disparity" in batches.get("pool", {})) == stored
    assert needs_disparity(config) == (stored or matched)
    assert ("disparity" in batches.get("source", {})) == ("cross=depth" in argument)
    assert needs_source_disparity(config) == (matched or "cross=depth" in argument)
    if file == "configs/synthia_to_cityscapes.py":
        classes = int(argument[-2:])
        labels = np.concatenate([batches[name]["label"].ravel() for name in ("labeled", "source")])
        assert labels[labels != 255].max() < classes == len(open_datasets.class_map(config))


def test_multitask_learning_without_video_is_refused(make):
    config, _ = make("configs/camvid.py", "mix=depth")
    config.segmentation.multitask = True
    with pytest.raises(
        UserError, match="4 labelled frames of camvid have no frame before or after them.* needs both; without it"
    ):
        labeled_frames.labeled_frames(config, open_datasets.open_training(config), None)


def test_depth_from_stereo_where_there_is_none_is_refused(make):
    config, _ = make("configs/cityscapes.py", "depth=transfer")
    config.depth.supervision = "depth"  # with the video of cityscapes_video
    with pytest.raises(UserError, match="config.depth.supervision: 'depth' needs known depth, and cityscapes_video"):
        training_frames.depth_training_frames(config, open_datasets.open_video(config))


@pytest.mark.parametrize("depth", ["transfer", "feature_distance", "supervised", "source"])
def test_depth_network_of_a_row_reads_its_batches_and_traces_its_step(make, depth):
    if depth == "source":
        config = source_config(make("configs/gta5_to_cityscapes.py", "")[0])
        assert (config.data.name, config.video.name, config.model.output_stride) == ("gta5", "gta5_video", 32)
        assert (config.depth.encoder_learning_rate, config.depth.learning_rate) == (1e-5, 1e-4)
        assert tuple(config.model.decoder_channels) == (16, 32, 64, 128, 256) and config.depth.frozen_steps == 0
    else:
        config, _ = make("configs/cityscapes.py", f"depth={depth},multitask=false")
    dataset = open_datasets.open_video(config)
    frames = training_frames.depth_training_frames(config, dataset)
    stream = Stream(dataset, frames, config.depth.batch_size, ("image", *depth_fields(config.depth)))
    batches = next(training_batches({"video": stream}, config.data.crop, True, 0))
    network = build_networks.depth_network(config)
    before, (after, metrics) = trace(
        network,
        make_depth_objective(network, config.depth, frozen=False),
        depth_optimizer(config.depth),
        batches,
        reference=depth == "feature_distance",
    )
    assert same_shapes(before, after)
    assert ("loss/feature_distance" in metrics) == (depth == "feature_distance")
    assert ("pose" in before.params) == (depth != "supervised")


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"camvid"}))
def test_rows_that_streets_can_run(name):
    file, module = (
        ("streets_source_to_streets", streets_source_to_streets) if "adaptation" in name else ("streets", streets)
    )
    rows = rows_for(TABLES[name], f"configs/{file}.py:size=tiny")
    assert rows[0] == TABLES[name].rows[0] and len({row.argument for row in rows}) == len(rows) > 2
    for row in rows:
        validate(module.get_config(row.argument))
    assert rows_for(TABLES[name], "configs/cityscapes.py") == TABLES[name].rows


def test_rows_switch_what_their_names_say_and_nothing_else():
    def differences(one, other, module=cityscapes):
        flat = [config.to_dict() for config in (module.get_config(one), module.get_config(other))]
        return {
            f"{section}.{key}"
            for section in flat[0]
            if isinstance(flat[0][section], dict)
            for key in flat[0][section]
            if flat[0][section][key] != flat[1][section][key]
        } - {"pipeline.stages"}

    base = "mix=supervised,depth=none,multitask=false"
    selected = {"data.labels_from", "selection.method", "selection.schedule"}
    assert differences(base, f"{base},selection=diversity") == selected
    initial = {"segmentation.init_encoder", "segmentation.init_decoder"}
    assert differences(base, "mix=none,depth=none,multitask=false") == {"segmentation.pseudo_labels"}
    assert differences(base, "mix=supervised,depth=transfer,multitask=false") == initial
    assert differences("mix=class,depth=none,multitask=false", "mix=cut,depth=none,multitask=false") == {
        "segmentation.mix"
    }
    assert differences("depth=transfer", "depth=feature_distance") == {"depth.feature_distance_weight"}
    assert differences("multitask=true", "multitask=false") == {"segmentation.multitask", "segmentation.mix_disparity"}
    assert differences("frames=1.0", "frames=0.01") == {"video.share"}
    assert differences("depth=transfer", "depth=supervised") == {"depth.supervision", "video.name"}
    cotrained = "mix=depth,depth=transfer,multitask=true"
    assert differences(cotrained, f"{cotrained},depth_weight=1.0", streets) == {"segmentation.depth_weight"}
    assert differences(cotrained, f"{cotrained},disparity=stored", streets) == {"segmentation.mix_disparity"}
    assert "estimate_depth" in streets.get_config(f"{cotrained},disparity=stored").pipeline.stages
    assert "estimate_depth" not in streets.get_config(cotrained).pipeline.stages


@pytest.mark.parametrize("name", ["streets", "streets_source_to_streets", "cityscapes"])
def test_rows_do_not_depend_on_how_a_config_is_named(name):
    for table in TABLES.values():
        expected = rows_for(table, f"configs/{name}.py:labels=3")
        assert (
            rows_for(table, name) == rows_for(table, f"{name}:seed=1") == rows_for(table, f"/a/{name}.py") == expected
        )
    assert (rows_for(TABLES["ablation"], name) == TABLES["ablation"].rows) == (name == "cityscapes")
