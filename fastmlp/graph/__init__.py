"""The graph: tensors, the nodes that made them, and the way back. `+ - * / @` are in `arithmetic`."""

from . import arithmetic as arithmetic  # gives Tensor its operators
from .hooks import RemovableHandle
from .operation import Operation
from .tensor import FLOATS, AccumulateGrad, Array, Node, Parameter, Tensor, is_grad_enabled, no_grad, nodes_of, result

__all__ = [
    "FLOATS",
    "AccumulateGrad",
    "Array",
    "Node",
    "Operation",
    "Parameter",
    "RemovableHandle",
    "Tensor",
    "is_grad_enabled",
    "no_grad",
    "nodes_of",
    "result",
]
