"""Bundled students: <name>.onnx with its card <name>.json."""
