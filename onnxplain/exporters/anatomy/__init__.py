"""What the parts of a graph are: image input, heads, layers, and how a tensor holds a map."""
