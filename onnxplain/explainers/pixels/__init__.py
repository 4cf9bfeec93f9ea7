"""Methods that take the gradient at the image itself, the layer `input`: one formula per file."""
