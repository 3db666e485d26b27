"""Published weights in: files, parameter names, conversion to this project's networks."""
