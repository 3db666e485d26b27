"""Exchange with other frameworks: PyTorch weights in; StableHLO, SavedModel and ONNX out."""
