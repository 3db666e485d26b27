"""The HTML report: arrays and numbers in, one self-contained page out; knows nothing of networks and datasets."""
