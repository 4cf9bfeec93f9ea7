"""The checks that run before a file is written. They know graphs and their anatomy, but no code that made the file."""
