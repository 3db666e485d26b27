"""Which frames to annotate (Sec. 3.2): coverage of the feature space, error of a depth student, Algorithm 1."""
