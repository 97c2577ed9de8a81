"""A case for each kernel: arguments, the call, the slow twin, and the largest error that rounding explains.

In the bounds eps is the spacing of the dtype at 1, twice the rounding error of one operation. "n eps Σ|terms|" is the
usual bound of a sum of n terms, doubled.
"""

import cases_activations
import cases_distances
import cases_layers
import cases_losses
import cases_products
import cases_rules

CASES = [
    case
    for cases in (cases_activations, cases_distances, cases_layers, cases_losses, cases_products, cases_rules)
    for case in cases.CASES
]

# Kernels without a range, which the tests of all cases do not fit: each with its test.
ELSEWHERE = {
    "adam_scale": "test_kernels_rules.py::test_adam_scale",
    "clip_factor": "test_clip.py::test_the_factor",
    "fingerprint": "test_kernels_data.py::test_fingerprint",
    "control_word": "test_simd.py::test_the_control_word_comes_back",
    "gather": "test_kernels_data.py::test_gather",
    "keep_gradient": "test_clip.py::test_kept_gradients_are_within_their_bound",
    "keep_scale": "test_clip.py::test_kept_gradients_are_within_their_bound",
    "lion_scale": "test_kernels_rules.py::test_lion_scale",
    "adagrad_scale": "test_kernels_rules.py::test_adagrad_scale",
    "nadam_scale": "test_kernels_rules.py::test_nadam_scale",
    "rmsprop_scale": "test_kernels_rules.py::test_rmsprop_scale",
    "nll_loss_forward": "test_kernels_losses.py::test_nll_loss",
    "linear_update_columns": "test_lists.py::test_linear_update_columns",
    "look_at_rows": "test_sparse.py::test_turn_and_look",
    "move_average": "test_average.py::test_the_kernel_goes_a_part_of_the_way",
    "pack": "test_kernels_products.py::test_pack_and_unpack",
    "row_squares": "test_clip.py::test_squares_and_their_norm_are_added_in_order_and_in_float64",
    "sgd_scale": "test_kernels_rules.py::test_sgd_scale",
    "total_norm": "test_clip.py::test_squares_and_their_norm_are_added_in_order_and_in_float64",
    "turn": "test_sparse.py::test_turn_and_look",
    "unpack": "test_kernels_products.py::test_pack_and_unpack",
}
