"""Export of trained networks: ONNX and int8."""
