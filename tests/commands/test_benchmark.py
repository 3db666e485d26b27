"""The benchmark measures what it claims to, on a tiny dataset; the speed itself is not tested."""

import argparse
import dataclasses
import importlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from sdeseg_jax.commands import benchmark as command_line
from tests.compilation import QUICK

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def benchmark():
    """benchmark(name) -> its module."""
    return lambda name: importlib.import_module(f"sdeseg_jax.commands.benchmarks.{name}")


def test_input_benchmark(benchmark):
    benchmark = benchmark("input")
    result = benchmark.benchmark_input(seconds=0.05, rounds=1, size=(128, 64), crop=32, clips=2)
    for kind in ("labelled", "triplets"):
        rates = result[kind]
        assert min(rates.values()) > 0
        assert rates["ratio to plain, one thread"] == pytest.approx(rates["pipeline"] / rates["plain, one thread"])
    assert 0 <= result["trainer_waits"] <= 1 and 1 < result["kilobytes_per_image"] < 30
    assert "ratio to plain, one thread" in benchmark.show(result)


def test_plain_loader_and_pipeline_count_crops(benchmark, tmp_path):
    benchmark = benchmark("input")
    benchmark.write_source(tmp_path, 1, 4, (64, 32))
    names = sorted(path.stem for path in (tmp_path / "files").iterdir())
    assert len(names) == 4
    made = benchmark.load_plainly(str(tmp_path), names, benchmark.TRIPLET, 32, 0, 0.05)
    assert made > 0 and made % benchmark.BATCH == 0
    taken = []
    batches = ({"s": {"image": [0] * 4}} for _ in iter(lambda: taken.append(1), 1))
    assert benchmark.read_pipeline(batches, 0.01) == 4 * len(taken)


def test_selection_benchmark(benchmark, monkeypatch):
    benchmark = benchmark("selection")
    monkeypatch.setattr(benchmark, "in_process", lambda function, *arguments: function(*arguments))
    arguments = argparse.Namespace(frames=[80, 10**6], dimensions=16, picks=12)
    written = benchmark.write_features
    monkeypatch.setattr(benchmark, "write_features", lambda path, n, d: written(path, min(n, 100), d))
    small, large = benchmark.measure(arguments)["runs"]
    assert (
        small["same_picks"] == 12 and min(small["running minimum"]["picks_per_second"], small["matrix"]["choosing"]) > 0
    )
    assert large["matrix"] is None and large["matrix_bytes"] == 4 * 10**12
    text = benchmark.show(benchmark.measure(arguments))
    assert "12 of 12 picks are the same" in text and "does not fit: the distances alone take 3725 GiB" in text


def ask(**changes):
    """Returns command line arguments for the benchmarks of compiled programs."""
    return argparse.Namespace(**{"size": "tiny", "batch": None, "dtype": None, "remat": False, "rounds": 2, **changes})


BARE = """
import importlib.abc, json, pathlib, sys
forbidden = {"tensorflow", "tensorflow_datasets", "clu", "array_record", "PIL", "matplotlib", "torch", "orbax"}
class Forbid(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden or name.startswith(("sdeseg_jax.data", "sdeseg_jax.jobs")):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Forbid())
sys.path.insert(0, ROOT)

import argparse, dataclasses, importlib
arguments = argparse.Namespace(size="tiny", batch=None, dtype=None, remat=False, rounds=2, devices=[1, 2])
step, warp, loss, _, _ = (importlib.import_module(f"sdeseg_jax.commands.benchmarks.{name}")
                          for name in ("step", "warp", "loss", "compile", "scaling"))
from sdeseg_jax.commands.benchmarks.timing import lowered_flops
from sdeseg_jax.commands.benchmarks.training import over_devices, shapes_of
make, whole = step.make_training, {}

def with_a_toy_step(config):  # the real one takes long to compile; it is counted as lowered
    training = make(config)
    batches = shapes_of(step.make_batches(config, 1, 2))
    whole["flops"] = lowered_flops(over_devices(training.step, 1), training.shapes, batches)
    toy = lambda state, batches: (state.replace(step=state.step + 1), {"mean": batches["pool"]["image"].mean()})
    return dataclasses.replace(training, step=toy)

step.make_training = with_a_toy_step
modules = {"step": step, "warp": warp, "loss": loss}
results = {name: module.measure(arguments) for name, module in modules.items()} | {"whole": whole}
text = {name: module.show(results[name]) for name, module in modules.items()}
print(json.dumps(results | {"text": text}))
"""


@pytest.fixture(scope="module")
def bare():
    """Results from a process without TensorFlow, datasets and their dependencies."""
    code = BARE.replace("ROOT", repr(str(ROOT)))
    cache = jax.config.jax_compilation_cache_dir
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "XLA_FLAGS": QUICK,
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
        },
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_step_and_its_parts_are_measured_on_a_bare_machine(bare):
    result, (run,) = bare["step"], bare["step"]["runs"]
    assert result["environment"]["crop"] == [32, 64] and result["environment"]["platform"] == "cpu"
    assert result["matmul"]["dtype"] == "float32" and result["matmul"]["flops_per_second"] > 1e8
    assert run["images_per_second"] == pytest.approx(4 / run["step"]["seconds"]["median"])
    assert len(run["parts"]) == 6
    for part in run["parts"].values():
        low, middle, high = (part["seconds"][name] for name in ("p10", "median", "p90"))
        assert 0 < low <= middle <= high and part["flops"] > 0 and part["planned_bytes"] > 0
        assert part["flops_per_second"] == pytest.approx(part["flops"] / middle)
        assert part["utilisation"] == pytest.approx(part["flops_per_second"] / result["matmul"]["flops_per_second"])
        assert part["share"] == pytest.approx(part["times"] * middle / run["step"]["seconds"]["median"])
    # The parts add up to the step. Their compiled programs, which are counted, do some small things twice, and their
    # student pass computes all heads, unlike some of the step's.
    total = sum(part["times"] * part["flops"] for part in run["parts"].values())
    assert 0.9 < total / bare["whole"]["flops"] < 1.5
    assert "student forward + backward" in bare["text"]["step"] and "not installed" in bare["text"]["step"]


def test_warp_is_compared_on_a_bare_machine(bare):
    (run,) = bare["warp"]["runs"]
    for what in ("forward", "forward + backward"):
        ours, naive = (run[what][name]["seconds"]["median"] for name in ("ours", "naive"))
        assert run[what]["ratio"] == pytest.approx(naive / ours)
    assert run["difference"] < 1e-4 and run["gradient_difference"] < 1e-2
    assert f"{run['forward']['ratio']:.2f}x" in bare["text"]["warp"]


def test_loss_is_compared_on_a_bare_machine(bare):
    (run,) = bare["loss"]["runs"]
    facts = run["forward + backward"]
    assert facts["ratio"] == pytest.approx(facts["naive"]["seconds"]["median"] / facts["ours"]["seconds"]["median"])
    assert run["losses"]["ours"] == pytest.approx(run["losses"]["naive"], rel=1e-4)
    assert run["gradient_difference"] < 1e-2 and "times as fast as the naive loss" in bare["text"]["loss"]


def test_versions_that_do_not_agree_are_no_comparison(benchmark, monkeypatch):
    warp = benchmark("warp")
    monkeypatch.setattr(warp.naive, "warp", lambda source, *_: source)
    with pytest.raises(RuntimeError, match="the two versions of warp differ by up to"):
        warp.measure_batch(1, (16, 32), 1)


def test_compile_benchmark_loads_from_the_cache(benchmark, monkeypatch):
    """With real processes and the smallest real step."""
    benchmark = benchmark("compile")
    monkeypatch.setenv("XLA_FLAGS", QUICK)
    result = benchmark.measure(ask(size="least"))
    cold, cached = result["cold"], result["from_cache"]
    assert not cold["cached"] and cached["cached"] and cached["compile_seconds"] < cold["compile_seconds"]
    assert cold["operations"]["scatter"] == cold["operations"]["host callback"] == 0 and cold["lines"] > 1000
    assert min(cold["trace_seconds"], cold["lower_seconds"], cold["flops"]) > 0
    text = benchmark.show(result)
    assert "fresh process, from the cache" in text and "0 scatter" in text and "did not find" not in text


def test_planted_operations_are_counted(benchmark):
    count = benchmark("compile").count_operations

    def counts_of(function, *arguments):
        return count(jax.jit(function).lower(*arguments).as_text(dialect="hlo"))

    x = np.ones((8, 8), np.float32)
    assert not any(counts_of(lambda x: x @ x, x).values())
    window = (jax.lax.max, (2, 2), (2, 2), "VALID")
    pooled = counts_of(jax.grad(lambda x: jax.lax.reduce_window(x, -np.inf, *window).sum()), x)
    assert pooled["select-and-scatter"] == 1
    assert counts_of(lambda x: jax.debug.callback(print, x), x)["host callback"] == 1
    hlo = """
      %s = (f32[4]{0}, u32[]) send(f32[4]{0} %x, token[] %t), channel_id=1
      %d = token[] send-done((f32[4]{0}, u32[]) %s), channel_id=1
      ROOT %r = f32[9]{0} scatter(%a, %scatter_indices, %b), to_apply=%add, metadata={op_name="scatter-add"}
    """
    counts = count(hlo)
    assert counts["send"] == counts["scatter"] == 1 and sum(counts.values()) == 2


@dataclasses.dataclass(frozen=True)
class ToyTraining:
    """Replaces `training.Training`: a step is one matrix product, and a mean over devices."""

    config: object
    shapes: object = dataclasses.field(default_factory=lambda: {"w": jax.ShapeDtypeStruct((8, 8), np.float32)})

    def step(self, state, batches):
        mean = jax.lax.pmean(batches["labeled"]["image"].mean(), "devices")
        return {"w": state["w"] @ state["w"]}, {"mean": mean}


def test_scaling_compares_the_same_global_batch_on_virtual_devices(benchmark, monkeypatch):
    benchmark, asked = benchmark("scaling"), []

    def in_this_process(module, request, **environment):
        asked.append((request["devices"], request["batch"], environment["XLA_FLAGS"].split()[-1]))
        return json.loads(json.dumps(benchmark.respond(argparse.Namespace(**request))))

    monkeypatch.setattr(benchmark, "run_in_process", in_this_process)
    monkeypatch.setattr(benchmark, "make_training", ToyTraining)
    monkeypatch.setattr(benchmark, "make_state", lambda shapes: {"w": np.eye(8, dtype=np.float32)})
    result = benchmark.measure(ask(devices=[1, 4]))
    flag = "--xla_force_host_platform_device_count="
    assert asked == [(1, None, f"{flag}1"), (4, [2], f"{flag}4"), (1, [8], f"{flag}1")]
    one, four = result["runs"]
    assert (one["images"], four["images"], four["one_device"]["images"]) == (4, 16, 16)
    seconds = four["one_device"]["seconds"]["median"], four["seconds"]["median"]
    assert four["efficiency"] == pytest.approx(seconds[0] / seconds[1])
    text = benchmark.show(result)
    assert "virtual and share the cores" in text and f"{four['efficiency']:.1%}" in text


def test_scaling_on_accelerators_is_weak(benchmark, monkeypatch):
    benchmark = benchmark("scaling")
    environment = {"crop": [32, 64], "size": "tiny", "dtype": "bfloat16", "remat": False, "rounds": 2}
    environment |= {"platform": "gpu", "device_kind": "a device", "jax": "0"}

    def respond(module, request, **_):
        seconds = {"median": 1.0 if request["devices"] == 1 else 1.25, "p10": 1.0, "p90": 2.0}
        return {"environment": environment, "virtual": False, "available": 2, "batch": 2, "seconds": seconds}

    monkeypatch.setattr(benchmark, "run_in_process", respond)
    result = benchmark.measure(ask(devices=[1, 8]))
    assert [run["devices"] for run in result["runs"]] == [1, 2]
    assert result["runs"][1]["efficiency"] == pytest.approx(0.8)
    assert "Not measured: 8 devices; this machine has 2" in benchmark.show(result)


def test_times_of_one_call(benchmark, monkeypatch):
    timing = benchmark("timing")
    now, calls = [0.0], []

    def call():
        now[0] += 0.05
        calls.append(1)
        return ()

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    spread = timing.time_in_turns({"a": call}, 3)["a"]
    assert spread == {name: pytest.approx(0.05) for name in ("median", "p10", "p90")}
    assert len(calls) == 2 + 3 * 4  # a round fills 0.2 seconds


def test_flops_that_libraries_hide_are_counted_as_lowered(benchmark):
    timing = benchmark("timing")

    class Stage:
        def __init__(self, flops):
            self.flops = flops

        def lower(self, *_):
            return self

        def compile(self):
            return Stage(7.0 if self.flops == 7.5 else 0.5)

        def cost_analysis(self):
            return {"flops": self.flops, "bytes accessed": 3.0}

    seen = timing.compile_program(Stage(7.5))
    hidden = timing.compile_program(Stage(70.0))
    assert (seen.flops, seen.flops_of) == (7.0, "compiled") and (hidden.flops, hidden.flops_of) == (70.0, "lowered")
    assert seen.bytes_accessed == 3.0 and seen.planned_bytes is None


def test_torch_at_equal_flops(benchmark):
    torch_resnet = benchmark("torch_resnet")
    step = {"flops": 4e9, "seconds": {"median": 0.2}}
    seconds = {"median": 0.1, "p10": 0.09, "p90": 0.2}
    measured = {"seconds": seconds, "flops": 1e9, "flops_per_second": 1e10, "device": "cpu", "version": "2"}
    assert "would take 400.0 ms, 2.00x of the 200.0 ms" in torch_resnet.show(measured, step)
    assert "not installed" in torch_resnet.show(None, step)
    # He et al.: 1.8e9 multiply-adds forward at 224x224; backward is twice that.
    assert torch_resnet.resnet_flops(1, (224, 224), "resnet18") == pytest.approx(3 * 2 * 1.8e9, rel=0.1)


def test_command_line_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert (
        command_line.missing_packages(command_line.READING) == ["tensorflow"]
        and command_line.missing_packages(command_line.STEP) == []
    )
    with pytest.raises(SystemExit, match="--what=input needs packages that are not installed: tensorflow"):
        command_line.main(["--what=input"])


def test_startup_is_compared_with_importing_jax(benchmark, monkeypatch):
    module = benchmark("startup")
    monkeypatch.setattr(module, "HELP", ("", "predict"))
    result = module.measure(argparse.Namespace(rounds=1))
    assert list(result["seconds"]) == ["import jax", "sdeseg --help", "sdeseg predict --help"]
    assert all(0 < spread["p10"] <= spread["p90"] for spread in result["seconds"].values())
    lines = module.show(result).splitlines()
    assert lines[2].startswith("import jax") and lines[2].endswith(" 1.00") and len(lines) == 5


def test_all_skips_with_a_reason_and_reports_failures(benchmark, monkeypatch, tmp_path, capfd):
    processes = benchmark("processes")
    (tmp_path / "sdeseg_jax.py").write_text(
        "import sys, pathlib\n"
        "_, what, output, *rest = sys.argv[1:]\n"
        "pathlib.Path(output.partition('=')[2]).write_text('{\"flags\": \"' + ' '.join(rest) + '\"}')\n"
        "sys.exit(3 if what == '--what=loss' else 0)\n"
    )
    monkeypatch.setattr(processes, "PLACE", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # first in the search path of `python -m`
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    output = tmp_path / "all.json"
    with pytest.raises(SystemExit, match="some benchmarks failed"):
        command_line.main(["--what=all", "--size=small", "--batch", "2", "4", "--remat", f"--output={output}"])
    results = json.loads(output.read_text())
    assert list(results) == list(command_line.BENCHMARKS)
    assert results["loss"] == {"failed": 3}
    assert results["input"] == {"skipped": "needs tensorflow (not installed)"}
    assert results["warp"]["flags"].startswith("--size small --batch 2 4 --remat --devices 1 8")
    assert "skipped: needs tensorflow" in capfd.readouterr().out
