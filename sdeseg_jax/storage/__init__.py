"""Files on disk: written atomically, locked, and errors of the disk in words."""
