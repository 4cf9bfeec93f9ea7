"""Small programs around the package: examples to read and to change, not products."""
