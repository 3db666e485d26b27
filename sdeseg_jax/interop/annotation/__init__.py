"""Frames out to annotation tools (Label Studio, CVAT), and the annotations back in as label maps."""
