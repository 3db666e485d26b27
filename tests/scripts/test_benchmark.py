"""The benchmark measures what it says, on a tiny dataset; how fast is none of a test's business."""

import pathlib

import pytest


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2] / "scripts"))
    import benchmark

    return benchmark


def test_input_benchmark(benchmark):
    result = benchmark.benchmark_input(seconds=0.05, rounds=1, size=(128, 64), crop=32, clips=2)
    for kind in ("labelled", "triplets"):
        rates = result[kind]
        assert min(rates.values()) > 0
        assert rates["ratio to plain, one thread"] == pytest.approx(rates["pipeline"] / rates["plain, one thread"])
    assert 0 <= result["trainer_waits"] <= 1 and 1 < result["kilobytes_per_image"] < 30
    assert "ratio to plain, one thread" in benchmark.show_input(result)


def test_plain_loader_and_pipeline_count_crops(benchmark, tmp_path):
    benchmark.write_source(tmp_path, 1, 4, (64, 32))
    names = sorted(path.stem for path in (tmp_path / "files").iterdir())
    assert len(names) == 4
    made = benchmark.load_plainly(str(tmp_path), names, benchmark.TRIPLET, 32, 0, 0.05)
    assert made > 0 and made % benchmark.BATCH == 0
    taken = []
    batches = ({"s": {"image": [0] * 4}} for _ in iter(lambda: taken.append(1), 1))
    assert benchmark.read_pipeline(batches, 0.01) == 4 * len(taken)
