"""Benchmarks of onnxplain, its floor and other tools; not part of the package, and the tests measure no times."""
