"""The generated data set: handwritten digits on textures."""
