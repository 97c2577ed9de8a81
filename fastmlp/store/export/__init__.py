"""Models as ONNX, C, NumPy and JavaScript: what a trained net is worth elsewhere."""
