"""Datasets and the input pipeline: the only folder that imports TensorFlow."""
