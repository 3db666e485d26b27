"""What `scripts/benchmark.py` measures, a file each: `measure(arguments) -> dict` and `show(dict) -> str`."""
