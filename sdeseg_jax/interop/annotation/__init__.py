"""Frames to annotation tools (Label Studio, CVAT), and what was drawn there back as label maps."""
