"""What `sdeseg benchmark` measures, a file each: `measure(arguments) -> dict` and `show(dict) -> str`."""
