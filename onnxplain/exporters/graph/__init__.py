"""Graphs, whatever they mean: reading values, emitting nodes, paths, names, running a graph."""
