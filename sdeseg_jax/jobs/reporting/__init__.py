"""Parts of the job `report`, and the pictures that trainings write for TensorBoard."""
