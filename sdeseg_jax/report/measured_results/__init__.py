"""The page of measured results: records of finished runs, tables over seeds, Markdown and curves."""
