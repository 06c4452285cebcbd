"""Bundled students: <name>.onnx with its card <name>.json; some also as <name>.tflite, in 8 bits, its card inside."""
