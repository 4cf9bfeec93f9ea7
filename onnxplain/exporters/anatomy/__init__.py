"""Finding the parts of a graph: image input, heads, layers, and how a tensor holds a map."""
