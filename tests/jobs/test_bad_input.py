"""Jobs refuse what cannot work before they compute anything, and say what to do."""

import json

import jax
import pytest

from sdeseg_jax.config import UserError
from sdeseg_jax.configs import folder
from sdeseg_jax.data.datasets import DatasetError
from sdeseg_jax.jobs import load_job
from sdeseg_jax.runs import labeled_frames, open_datasets, preflight
from sdeseg_jax.runs.workdir import Workdir


@pytest.fixture
def refuse(tmp_path):
    """refuse(job, config, message): the job raises UserError with the message and leaves nothing in the workdir."""

    def check(job, config, message):
        with pytest.raises(UserError, match=message):
            load_job(job)(config, Workdir(tmp_path / "run"))
        assert not list((tmp_path / "run").rglob("*"))

    return check


@pytest.fixture
def train_split(make_config):
    return open_datasets.open_split(make_config(), "train")


SCRATCH = {"segmentation__init_encoder": "scratch", "segmentation__init_decoder": "scratch"}


@pytest.mark.parametrize("job", ["pretrain_depth", "train", "baseline"])
def test_crop_larger_than_the_image(refuse, make_config, job):
    refuse(
        job, make_config(data__crop=(64, 64)), r"config.data.crop: \(64, 64\) is larger than the images .*\(32, 64\)"
    )


def test_images_that_do_not_suit_the_encoder(refuse, make_config):
    config = make_config()
    config.data.options.height = 48
    refuse("pretrain_depth", config, r"images of .*, \(48, 64\), should have sides that are multiples of 32")


@pytest.mark.parametrize(
    "job, section", [("pretrain_depth", "depth"), ("train", "segmentation"), ("baseline", "segmentation")]
)
def test_batch_not_divisible_by_the_devices(refuse, make_config, job, section):
    config = make_config(**{f"{section}__batch_size": 6})
    refuse(
        job, config, f"config.{section}.batch_size: a batch of 6 cannot be divided among 4 devices; use a multiple of 4"
    )


TRAININGS = [
    ("pretrain_depth", "depth"),
    ("pretrain_source_depth", "depth"),
    ("train", "segmentation"),
    ("baseline", "segmentation"),
    ("select_labels", "selection"),
]


@pytest.mark.parametrize("job, section", TRAININGS)
@pytest.mark.parametrize("devices, synchronized, size, smallest", [(1, True, 1, 2), (1, False, 1, 2), (4, False, 4, 8)])
def test_one_image_per_batch_norm_statistic(
    make_config, tmp_path, monkeypatch, job, section, devices, synchronized, size, smallest
):
    """Refused by the stage's own job and before a pipeline's first stage, with the batch that works."""
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    config = make_config(model__sync_batch_norm=synchronized, segmentation__mix="none", evaluation__depth=False)
    config.source.name, config.source.options = "streets", config.data.options
    config.selection.update(method="ds_us", schedule=(4, 6), student_steps=((4, 1),))
    config.depth.batch_size = config.segmentation.batch_size = config.selection.batch_size = smallest
    config[section].batch_size = size
    workdir = Workdir(tmp_path / "run")
    message = f"config.{section}.batch_size: .*one image behind each BatchNorm statistic.*"
    message += f"Use --config.{section}.batch_size={smallest} or more" + ", or --config.*sync_batch_norm" * (
        devices > 1
    )
    order = (
        "dataset",
        "pretrain_depth",
        "estimate_depth",
        "pretrain_source_depth",
        "select_labels",
        "baseline",
        "train",
    )
    for check in (
        lambda: load_job(job)(config, workdir),
        lambda: preflight.check(config, workdir, order[: order.index(job) + 1]),
    ):
        with pytest.raises(UserError, match=message):
            check()
    assert not workdir.root.exists()


@pytest.mark.parametrize("job", ["train", "baseline"])
@pytest.mark.parametrize(
    "synchronized, size, labels, advice",
    [
        (True, 4, 3, "Use more frames: the smallest batch is 4, because BatchNorm needs two images"),
        (True, 8, 7, "Use --config.segmentation.batch_size=4, or more frames"),
        (False, 12, 11, "Use --config.segmentation.batch_size=8, or more frames"),
        (False, 8, 7, "Use more frames: the smallest batch is 8"),
    ],
)
def test_fewer_labelled_frames_than_a_batch(refuse, make_config, job, synchronized, size, labels, advice):
    config = make_config(
        data__labels=labels, segmentation__batch_size=size, model__sync_batch_norm=synchronized, depth__batch_size=8
    )
    refuse(job, config, f"{labels} labelled frames are fewer than a batch .*batch_size = {size}.*{advice}")


def test_fewer_video_frames_than_a_batch(refuse, make_config):
    config = make_config(depth__batch_size=20)
    refuse("pretrain_depth", config, "config.depth.batch_size: .*16 frames .*, fewer than a batch of 20")


def test_more_labels_than_there_are(refuse, make_config):
    refuse("train", make_config(data__labels=17), "config.data.labels: 17 labelled frames are requested, but only 16")


def test_depthmix_before_there_is_any_disparity(refuse, make_config):
    precomputed = {"segmentation__multitask": False, "segmentation__mix_disparity": "precomputed"}
    message = "reads the stored disparity, but .*disparity holds no .*Run it first: --job=estimate_depth"
    refuse("train", make_config(**precomputed, **SCRATCH), message)


def test_transfer_before_depth_is_trained(refuse, make_config):
    refuse("train", make_config(), "init_encoder/init_decoder = 'depth'.*Run it first: --job=pretrain_depth")


def test_estimate_depth_before_pretrain_depth(refuse, make_config):
    refuse("estimate_depth", make_config(), "'estimate_depth' needs a trained .*Run it first: --job=pretrain_depth")


def test_unfinished_depth_is_no_depth(make_config, tmp_path):
    workdir, config = Workdir(tmp_path), make_config()
    with pytest.raises(KeyboardInterrupt), workdir.stage("pretrain_depth", config):
        raise KeyboardInterrupt
    with pytest.raises(UserError, match="holds no finished 'pretrain_depth'"):
        load_job("estimate_depth")(config, workdir)


def test_evaluate_with_nothing_to_evaluate(refuse, make_config):
    refuse("evaluate", make_config(), "no finished training to evaluate; run --job=train first")


def test_evaluate_where_annotated_frames_are_not_known(make_config, tmp_path):
    config, workdir = make_config(**SCRATCH), Workdir(tmp_path)
    with workdir.stage("train", config):
        (workdir.folder("train") / "labeled.json").write_text("{")
    with pytest.raises(UserError, match=f"{tmp_path}/segmentation/labeled.json is not valid JSON.*--job=train"):
        load_job("evaluate")(config, workdir)
    assert not (tmp_path / "evaluation").exists()


def test_unknown_split(make_config):
    with pytest.raises(UserError, match="split 'val' does not exist; valid: 'train', 'validation'"):
        open_datasets.open_split(make_config(), "val")


@pytest.mark.parametrize(
    "name, variant, options",
    [
        ("camvid", "320x256", " --size=320x256"),
        ("camvid", "my_320x256_stride2", ""),
        ("folder", "my_320x256_stride2", " --size=320x256 --stride=2 --name=my"),
    ],
)
def test_commands_that_prepare_a_variant(make_config, tmp_path, name, variant, options):
    """Options are those that give it its name."""
    with pytest.raises(DatasetError) as caught:
        open_datasets.open_split(
            make_config(data__name=name, data__variant=variant, data__data_dir=str(tmp_path)), "train"
        )
    assert str(caught.value).endswith(f" --output={tmp_path}{options}")


def test_unknown_dataset_and_options(make_config):
    with pytest.raises(DatasetError, match="config.data.name: unknown dataset 'cityscape'; did you mean 'cityscapes'?"):
        open_datasets.open_split(make_config(data__name="cityscape"), "train")
    with pytest.raises(DatasetError, match="'cityscapes' is not prepared.*\n.*sdeseg prepare --dataset=cityscapes"):
        open_datasets.open_split(make_config(data__name="cityscapes"), "train")
    config = make_config()
    with config.data.options.unlocked():
        config.data.options.heigth = 32
    with pytest.raises(DatasetError, match="options.heigth: Streets has no such option; did you mean 'height'"):
        open_datasets.open_split(config, "train")


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "labels.json cannot be read .*No such file"),
        ("[1, 2", "labels.json is not valid JSON: "),
        ('{"names": []}', 'should hold a list of frame ids, or {"ids"'),
        ("[]", "should hold a list of frame ids"),
        ("[1, 2, 3, 4]", "should hold a list of frame ids"),
        ('["train_0000_01", "nowhere", "train_0001_01"]', "1 ids are not in streets/train, e.g. .'nowhere'"),
        ('["train_0000_01", "train_0000_01"]', "listed twice"),
        ('["train_0000_01"]', "1 labelled frames are fewer than a batch"),
    ],
)
def test_wrong_labels_file(refuse, make_config, tmp_path, content, message):
    path = tmp_path / "labels.json"
    if content is not None:
        path.write_text(content)
    refuse("train", make_config(data__labels_file=str(path)), message)


def test_labels_file_with_frames_at_the_ends_of_clips(make_config, train_split, tmp_path):
    ids = ["train_0000_01", "train_0002_02", "train_0003_00", "train_0004_01", "train_0005_03"]
    (tmp_path / "labels.json").write_text(json.dumps({"ids": ids}))
    config = make_config(data__labels_file=str(tmp_path / "labels.json"))
    with pytest.raises(
        UserError, match="2 labelled frames of streets have no frame before or after .*'train_0003_00'.* needs both"
    ):
        labeled_frames.labeled_frames(config, train_split, None)
    config.segmentation.multitask = False  # needs no neighbours
    assert [train_split.index.ids[i] for i in labeled_frames.labeled_frames(config, train_split, None)] == ids


def test_settings_of_the_video_are_named_as_such(make_config, tmp_path):
    config = make_config(video__name="kitti_odometry", video__split="train")
    (tmp_path / "data").write_text("")
    for place, message in ((tmp_path / "data", r"config\.data\.data_dir"), (tmp_path, r"config\.video\.name")):
        config.data.data_dir = str(place)
        with pytest.raises(UserError, match=message):
            open_datasets.open_video(config)


def test_a_damaged_selection_is_not_blamed_on_a_file_that_nobody_named(make_config, train_split, tmp_path):
    config, workdir = make_config(data__labels=4, data__labels_from="selection"), Workdir(tmp_path / "run")
    with workdir.stage("select_labels", config) as metrics:
        metrics["labels"] = {"4": 4}
        (workdir.folder("select_labels") / "4.json").write_text("{")
    with pytest.raises(UserError, match="config.data.labels_from: .*4.json is not valid JSON"):
        labeled_frames.labeled_frames(config, train_split, workdir)


def test_all_annotated_frames_are_used_unless_depth_is_co_trained(make_config, train_split, caplog):
    index = train_split.index
    inner, every = len(index.with_neighbours), len(index.labeled)
    assert inner < every
    own, cotrained = (folder.get_config(f"multitask={value}").data.label_candidates for value in ("false", "true"))
    assert (own, cotrained) == ("all", "video")
    config = make_config(data__labels=0, segmentation__multitask=False, segmentation__mix_disparity="precomputed")
    for candidates, number in (("video", inner), ("all", every)):
        config.data.label_candidates = candidates
        assert len(labeled_frames.labeled_frames(config, train_split, None)) == number
        labeled_frames.warn_of_unused_labels(config, train_split)
    assert len(caplog.messages) == 1 and f"{inner} annotated frames are used; {every - inner} more" in caplog.text

    config.data.update(labels=inner + 1, label_candidates="video")
    with pytest.raises(UserError, match=f"only {inner} training frames .*; {every - inner} more .*label_candidates"):
        labeled_frames.labeled_frames(config, train_split, None)
    config.data.label_candidates = "all"
    assert len(labeled_frames.labeled_frames(config, train_split, None)) == inner + 1


def test_subset_of_labels_grows_with_their_number_and_depends_on_the_seed(make_config, train_split):
    subset = lambda **changes: set(labeled_frames.labeled_frames(make_config(**changes), train_split, None))  # noqa: E731
    six, ten, every = (subset(data__labels=number) for number in (6, 10, 0))
    assert len(six) == 6 and six < ten < every == set(train_split.index.with_neighbours)
    config = make_config()
    config.seed = 1
    assert set(labeled_frames.labeled_frames(config, train_split, None)) != six
