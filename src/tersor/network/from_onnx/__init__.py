"""Reading ONNX files into a Network: one small function per ONNX operator."""
