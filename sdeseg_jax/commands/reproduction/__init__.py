"""Parts of `reproduce_tables.py`: planning the runs of tables, running them, and storing their scores."""
