"""RESULTS.md: records of finished runs, tables over seeds, Markdown and learning curves."""
