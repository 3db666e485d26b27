"""Parts of the job `evaluate`, which trainings use too."""
