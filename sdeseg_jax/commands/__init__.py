"""The command `sdeseg`, and what is no job of a run: preparation, imports, annotation package, tables, benchmarks."""
