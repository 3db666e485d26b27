"""Prediction with a run's networks or an exported file: sliding windows, flip, scales, and the files written."""
