"""Trained networks out, as files that run without this package."""
