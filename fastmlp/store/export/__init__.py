"""Models as ONNX, C, NumPy and JavaScript: what a trained net is worth elsewhere."""

from .c_header import c
from .javascript_module import javascript
from .numpy_module import numpy
from .onnx_graph import onnx

__all__ = ["c", "javascript", "numpy", "onnx"]
