"""Torch networks: loaded, exported to ONNX once, and checked against their original."""
