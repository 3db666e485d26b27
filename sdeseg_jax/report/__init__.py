"""The HTML report: arrays and numbers in, one self-contained page out, independent of networks and datasets."""
