"""The HTML report: arrays and numbers in, one self-contained page out. Knows nothing of networks, datasets or folders."""
