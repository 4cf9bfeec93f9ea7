"""The command line: one module per command. Heavy packages are imported only when a command runs."""
