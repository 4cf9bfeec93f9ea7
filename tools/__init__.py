"""Scripts for developers, run by hand."""
