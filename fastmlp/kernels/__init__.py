"""All jitted code. Arrays and scalars in, arrays filled in place; each forward directly above its backward.

A kernel fills a half-open range of columns [lo, hi): the graph calls it with all columns, and several threads can
share a layer by calling it with a piece each. The same source serves float32 and float64.
"""

from .activations import (
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from .batch import fingerprint, gather
from .batchnorm import batchnorm_backward, batchnorm_eval_backward, batchnorm_eval_forward, batchnorm_forward
from .control import flush_denormals, restore_denormals
from .dropout import dropout_backward, dropout_forward
from .jit import announce_compiling
from .linear import linear_backward, linear_backward_input, linear_forward
from .loss import log_softmax_backward, log_softmax_forward, nll_loss_backward, nll_loss_forward
from .matmul import pack, product, product_dw, product_dx, unpack
from .memory import empty, lanes, packed_shape, padded, scratch_size
from .simd import TILE_VECTORS
from .updates import adam_step, adamw_step, sgd_step

__all__ = [
    "TILE_VECTORS",
    "adam_step",
    "adamw_step",
    "announce_compiling",
    "batchnorm_backward",
    "batchnorm_eval_backward",
    "batchnorm_eval_forward",
    "batchnorm_forward",
    "dropout_backward",
    "dropout_forward",
    "empty",
    "fingerprint",
    "flush_denormals",
    "gather",
    "lanes",
    "linear_backward",
    "linear_backward_input",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "nll_loss_backward",
    "nll_loss_forward",
    "pack",
    "packed_shape",
    "padded",
    "product",
    "product_dw",
    "product_dx",
    "relu_backward",
    "relu_forward",
    "restore_denormals",
    "scratch_size",
    "sgd_step",
    "sigmoid_backward",
    "sigmoid_forward",
    "tanh_backward",
    "tanh_forward",
    "unpack",
]
