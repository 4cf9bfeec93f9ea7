"""Reading an ONNX file and changing it into a graph that can be instrumented."""
