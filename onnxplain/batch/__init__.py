"""Explain a whole source of images in parts that can be done in any order, by any process, any number of times."""
