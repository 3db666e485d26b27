"""One function of images: the networks of a run or an exported file; sliding windows, flip, scales; files out."""
