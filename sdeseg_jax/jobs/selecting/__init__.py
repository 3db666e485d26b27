"""Parts of the job `select_labels`."""
