"""Explain many images with several methods and targets, and write the results to a folder. The command line uses it."""
