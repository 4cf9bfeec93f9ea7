"""Reading an ONNX file without a package that reads ONNX: the wire format, names in the graph, facts of the file."""
