"""Parts of the job `report`, and the pictures that trainings show in TensorBoard."""
