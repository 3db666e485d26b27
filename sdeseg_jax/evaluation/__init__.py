"""Scores: mean intersection over union for segmentation, the standard metrics for depth."""
