#!/usr/bin/env bash
# numba 0.68.1 with numpy 2.4.6: uint8(1) - uint8(2) is 18446744073709551615 for two scalars, 255 for two arrays.
#
# Seen: a jitted `a - b` gives 255 for two arrays of uint8, but 2⁶⁴ - 1 for two scalars, also where they are read from
# such arrays, a[0] - b[0], which is what every loop over pixels does; times 0.5 that is 9.2e18. NumPy itself gives 255
# for both. So a loop written out and the same line on whole arrays differ inside one jitted function.
# Why: Numba widens the small unsigned types of scalars to uint64 before it computes; of arrays it keeps NumPy's rule.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6
cat > "$folder/subtract.py" <<'PYTHON'
import numba
import numpy as np


@numba.njit
def whole(a, b):
    return a - b


@numba.njit
def first(a, b):
    return a[0] - b[0]


@numba.njit
def half(a, b):
    return (a[0] - b[0]) * 0.5


a, b = np.array([1], np.uint8), np.array([2], np.uint8)
with np.errstate(over="ignore"):
    numpy_says = a[0] - b[0]
print(f"arrays {whole(a, b)[0]}, scalars {first(a, b)}, times a half {half(a, b):.2g}, NumPy {numpy_says}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/subtract.py")
echo "$seen"
[[ $seen == "arrays 255, scalars 18446744073709551615, times a half 9.2e+18, NumPy 255" ]]
