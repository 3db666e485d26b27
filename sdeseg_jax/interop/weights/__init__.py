"""Published weights: files, parameter names, conversion to this project's networks."""
