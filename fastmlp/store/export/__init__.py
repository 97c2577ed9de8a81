"""Models as ONNX: what a trained net is worth elsewhere."""

from .onnx_graph import onnx

__all__ = ["onnx"]
