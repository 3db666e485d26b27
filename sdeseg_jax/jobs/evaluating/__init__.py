"""Parts of the job `evaluate`; trainings use them, too."""
