#!/usr/bin/env bash
# pyarrow 26.0.1: SparseCOOTensor.from_dense_numpy of an array in Fortran's order names the wrong places, silently.
#
# Seen: the column 1, 2, 3 beside a column of zeros, given as an array that lies column by column, comes back as 1, 2,
# 0 beside 3, 0, 0. So does a transposed array, or SciPy's toarray() of a csc matrix. The same numbers in C's order
# are right, and so are SparseCSRMatrix, SparseCSCMatrix and SparseCSFTensor in either. A square array comes back
# right, which is what a first test has; no error, no warning.
# Why: values are taken in the order in which they lie in memory, but their coordinates are counted with the two
# lengths exchanged.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pyarrow==26.0.1 numpy==2.4.6
cat > "$folder/order.py" <<'PYTHON'
import numpy as np
import pyarrow

dense = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
for kind in ("COOTensor", "CSRMatrix"):
    made = getattr(pyarrow, f"Sparse{kind}").from_dense_numpy
    for order in "CF":
        back = made(np.array(dense, order=order)).to_tensor().to_numpy()
        print(f"{kind} {order} {back.tolist()}")
PYTHON
seen=$(cd "$folder" && venv/bin/python order.py)
echo "$seen"
[[ $seen == "COOTensor C [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]
COOTensor F [[1.0, 3.0], [2.0, 0.0], [0.0, 0.0]]
CSRMatrix C [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]
CSRMatrix F [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]" ]]
