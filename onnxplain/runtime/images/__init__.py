"""Images of any channels and values, from arrays, TIFF files and photos of 16 bits, as a preprocessing takes them."""
