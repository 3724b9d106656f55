"""From a Network to an ONNX file."""
