"""Tools for graphs of any meaning: reading values, emitting nodes, paths, names, running a graph."""
