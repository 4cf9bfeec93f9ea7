"""Image inputs of integers that have a quantization of their own."""
