"""Parts of `reproduce_tables.py`: which runs tables consist of, running them, and what is kept of them."""
