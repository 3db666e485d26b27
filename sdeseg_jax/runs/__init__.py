"""What a run is: workdir, stage records and checks; the datasets, networks and frames that its config names."""
