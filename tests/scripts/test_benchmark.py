"""The benchmark measures what it says, on a tiny dataset; how fast is none of a test's business."""

import argparse
import importlib
import pathlib

import pytest


@pytest.fixture
def benchmark(monkeypatch):
    """benchmark(name) -> its module."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2] / "scripts"))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


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
    assert "12 of 12 picks are the same" in text and "does not fit: 3725 GiB" in text
