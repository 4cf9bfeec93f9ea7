"""An ONNX file as found becomes a graph that can be instrumented: read, raised, freed, stripped, shuffled."""
