"""A case for each kernel: arguments, the call, the slow twin, and the largest error that rounding explains.

In the bounds eps is the spacing of the dtype at 1, twice the rounding error of one operation. "n eps Σ|terms|" is the
usual bound of a sum of n terms, doubled.
"""

import cases_distances
import cases_layers
import cases_losses
import cases_products
import cases_rules

CASES = [*cases_distances.CASES, *cases_layers.CASES, *cases_losses.CASES, *cases_products.CASES, *cases_rules.CASES]

# Kernels without a range, which the tests of all cases do not fit: each with its test.
ELSEWHERE = {
    "adam_scale": "test_kernels_rules.py::test_adam_scale",
    "fingerprint": "test_kernels_data.py::test_fingerprint",
    "flush_denormals": "test_simd.py::test_the_control_word_comes_back",
    "gather": "test_kernels_data.py::test_gather",
    "lion_scale": "test_kernels_rules.py::test_lion_scale",
    "nll_loss_forward": "test_kernels_losses.py::test_nll_loss",
    "pack": "test_kernels_products.py::test_pack_and_unpack",
    "restore_denormals": "test_simd.py::test_the_control_word_comes_back",
    "sgd_scale": "test_kernels_rules.py::test_sgd_scale",
    "unpack": "test_kernels_products.py::test_pack_and_unpack",
}
