"""All jitted code. Arrays and scalars in, arrays filled in place; each forward directly above its backward.

A kernel fills a half-open range of columns [lo, hi): the graph calls it with all columns, and several threads can
share a layer by calling it with a piece each. Kinds that need a whole row fill a range of rows. The same source serves
float32 and float64. `forms` says which arguments a kernel has, and how the engine calls it by its address.
"""

from .activations import (
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from .batch import GATHER, GATHER_FILE, GATHER_SHARDS, fingerprint, gather
from .batchnorm import batchnorm_backward, batchnorm_eval_backward, batchnorm_eval_forward, batchnorm_forward
from .control import control_word, flushed
from .dropout import dropout_backward, dropout_forward
from .jit import NUMBA, announce_compiling, kernel, processor
from .linear import (
    PANEL,
    linear_backward,
    linear_forward,
    linear_update_bias,
    linear_update_columns,
    linear_update_weight,
)
from .lists import NO_LISTS
from .loss import (
    accuracy_score,
    cross_entropy_backward,
    cross_entropy_forward,
    log_softmax_backward,
    log_softmax_forward,
    nll_loss_backward,
    nll_loss_forward,
    soft_cross_entropy_backward,
    soft_cross_entropy_forward,
    soft_nll_loss_backward,
    soft_nll_loss_forward,
)
from .matmul import pack, product, product_dw, product_dx, tiles, unpack
from .memory import empty, lanes, packed_shape, padded, scratch_size, zeros
from .sparse import GATHER_DISTINCT, GATHER_SPARSE, look_at_rows, turn
from .updates import SCALES, adam_scale, adam_update, adamw_update, sgd_scale, sgd_update

__all__ = [
    "GATHER",
    "GATHER_DISTINCT",
    "GATHER_FILE",
    "GATHER_SHARDS",
    "GATHER_SPARSE",
    "NO_LISTS",
    "NUMBA",
    "PANEL",
    "SCALES",
    "accuracy_score",
    "adam_scale",
    "adam_update",
    "adamw_update",
    "announce_compiling",
    "batchnorm_backward",
    "batchnorm_eval_backward",
    "batchnorm_eval_forward",
    "batchnorm_forward",
    "control_word",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout_backward",
    "dropout_forward",
    "empty",
    "fingerprint",
    "flushed",
    "gather",
    "kernel",
    "lanes",
    "linear_backward",
    "linear_forward",
    "linear_update_bias",
    "linear_update_columns",
    "linear_update_weight",
    "log_softmax_backward",
    "log_softmax_forward",
    "look_at_rows",
    "nll_loss_backward",
    "nll_loss_forward",
    "pack",
    "packed_shape",
    "padded",
    "processor",
    "product",
    "product_dw",
    "product_dx",
    "relu_backward",
    "relu_forward",
    "scratch_size",
    "sgd_scale",
    "sgd_update",
    "sigmoid_backward",
    "sigmoid_forward",
    "soft_cross_entropy_backward",
    "soft_cross_entropy_forward",
    "soft_nll_loss_backward",
    "soft_nll_loss_forward",
    "tanh_backward",
    "tanh_forward",
    "tiles",
    "turn",
    "unpack",
    "zeros",
]
