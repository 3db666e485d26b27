"""Any config either works or is refused with a message that names the setting, before anything is computed.

$SDESEG_FUZZ sets the number of configs; the first of those that are accepted have their steps traced, too.
"""

import collections
import functools
import os

import jax
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sdeseg_jax.config import SETTINGS, UserError, flatten, validate
from sdeseg_jax.data.disparity_maps import DisparityFolder
from sdeseg_jax.jobs import load_job, pretrain_depth, train
from sdeseg_jax.runs import build_networks, disk_space, preflight
from sdeseg_jax.runs.workdir import Workdir
from sdeseg_jax.training.checkpoints import CheckpointError
from sdeseg_jax.training.initialization import network_shapes
from sdeseg_jax.training.replication import AXIS, split, to_float

EXAMPLES = int(os.environ.get("SDESEG_FUZZ", "250"))
TRACED = EXAMPLES // 100
"""Accepted configs whose steps are traced: that takes seconds each."""

NUMBERS = [-1, 0, 1, 2, 3, 4, 5, 8, 16, 31, 32, 33, 64, 100, 1000, 10**6, 2**31, 10**12]
FRACTIONS = [-1.0, 0.0, 1e-30, 1e-3, 0.03, 0.5, 0.99, 1.0, 1.5, 100.0, 1e30, float("nan"), float("inf")]
TEXTS = [
    "",
    "x",
    "none",
    "../../etc/passwd",
    "/nowhere",
    "train[:2]",
    "train[9:3]",
    "train[",
    "test",
    "a\0b",
    "é",
    "-1",
]
ODD = [None, True, "1", 1, 1.0, (), (1,), ("a",), {"a": 1}]


def values_like(default, key):
    """Values for a setting: of its type, of the choices that it has, and of other types."""
    if isinstance(default, bool):
        own = st.booleans()
    elif key in SETTINGS and SETTINGS[key].choices:
        own = st.sampled_from(SETTINGS[key].choices)
    elif isinstance(default, int):
        own = st.sampled_from(NUMBERS)
    elif isinstance(default, float):
        own = st.sampled_from(FRACTIONS)
    elif isinstance(default, str):
        own = st.sampled_from(TEXTS)
    else:
        entry = values_like(default[0], "") if default else st.sampled_from([*NUMBERS, *FRACTIONS])
        same_length = st.tuples(*[entry] * len(default))
        own = st.one_of(same_length, st.lists(entry, max_size=6).map(tuple))
    return st.one_of(own, own, own, st.sampled_from(ODD))


@pytest.fixture(scope="module")
def make_fuzzed(make_config, tmp_path_factory):
    """make_fuzzed({key: value}) -> tiny config with these settings, whatever their type; its dataset is rendered."""
    load_job("dataset")(make_config(), Workdir(tmp_path_factory.mktemp("run"), make_config()))

    def make(changes):
        config = make_config()
        for key, value in changes.items():
            section, _, name = key.rpartition(".")
            own = functools.reduce(lambda node, part: node[part], filter(None, section.split(".")), config)
            with own.ignore_type(), own.unlocked():
                own[name] = value
        return config

    return make


def all_settings(config):
    """Settings that are fuzzed: not those of Streets, which would be rendered anew, nor the folder that it is in."""
    left_out = ("data.options", "data.data_dir", "video.options", "source.options", "source.video.options")
    return {key: value for key, value in flatten(config).items() if not key.startswith(left_out)}


def trace_steps(config, workdir, monkeypatch):
    """Runs the trainings of a pipeline on shapes alone: jobs as they are, with the first batch, without computing."""

    def run(name, state, phases, make_batches, folder, runtime, *args, **kwargs):
        batch = next(make_batches(0))
        for phase in phases:
            after, _ = phase.step(state, batch)
            assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
                lambda x: (x.shape, x.dtype), jax.eval_shape(lambda: state)
            )
        return state

    def replicate(step, **shared):
        mapped = jax.pmap(lambda state, batch: step(state, to_float(batch) | shared), axis_name=AXIS,
                          in_axes=(None, 0), out_axes=(None, None))  # fmt: skip
        return lambda state, batch: jax.eval_shape(mapped, state, split(batch))

    def random_variables(network, seed, size):
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(network_shapes(network, size)))

    with monkeypatch.context() as context:
        for module in (pretrain_depth, train):
            for name, function in (("run", run), ("replicate", replicate), ("random_variables", random_variables)):
                context.setattr(module, name, function)
        context.setattr(workdir, "require", lambda stage, why: None)
        context.setattr(train, "check_stage", lambda config, workdir, stage: None)
        context.setattr(train, "load_variables", lambda folder: random_variables(
            build_networks.depth_network(config), 0, config.data.crop))  # fmt: skip
        context.setattr(DisparityFolder, "missing", lambda self, ids: [])
        context.setattr(DisparityFolder, "read", lambda self, frame_id: tf.zeros((32, 64, 1)))
        for stage in config.pipeline.stages:
            if stage in ("pretrain_depth", "baseline", "train"):
                load_job(stage)(config, workdir)


def test_any_config_works_or_is_refused(make_fuzzed, make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(disk_space, "AMPLE", 0)  # what is planned is added up from networks' shapes, which takes long
    defaults, seen = all_settings(make_config()), collections.Counter()
    keys = sorted(defaults)
    change = st.sampled_from(keys).flatmap(lambda key: st.tuples(st.just(key), values_like(defaults[key], key)))

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), print_blob=False, phases=[Phase.generate],
    )  # fmt: skip
    @given(st.lists(change, min_size=1, max_size=3, unique_by=lambda one: one[0]))
    def check(changes):
        config = make_fuzzed(dict(changes))
        workdir = Workdir(tmp_path / "run")
        try:
            validate(config)
            workdir = Workdir(tmp_path / f"run{seen['accepted']}", config)
            preflight.check(config, workdir, config.pipeline.stages)
        except (UserError, CheckpointError) as error:
            named = [word for key, value in changes for word in (key.rsplit(".", 1)[-1], f"streets/{value} ")]
            assert "config." in str(error) and any(word in str(error) for word in named), (changes, str(error))
            seen["refused"] += 1
            return
        seen["accepted"] += 1
        if seen["accepted"] <= TRACED:
            trace_steps(config, workdir, monkeypatch)
            seen["traced"] += 1

    check()
    print(dict(seen))
    # Neither everything is refused nor nothing: the values suit what they are to find out.
    assert min(seen["refused"], seen["accepted"]) > EXAMPLES / 10 and seen["traced"] == TRACED
