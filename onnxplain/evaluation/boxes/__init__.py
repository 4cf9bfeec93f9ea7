"""Evaluation of detectors: which true boxes are found, and the maps of the boxes that are."""
