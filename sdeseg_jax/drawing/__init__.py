"""Arrays to pictures, for the report and the files of predictions."""
