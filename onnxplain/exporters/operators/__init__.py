"""Facts about each operator: its expansion into standard nodes, its window, its integers."""
