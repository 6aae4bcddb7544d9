"""ONNX graphs: read, fold, edit, watch."""
