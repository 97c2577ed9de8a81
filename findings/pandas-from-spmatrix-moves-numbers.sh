#!/usr/bin/env bash
# pandas 3.1.1 with scipy 1.17.1: a place that a sparse matrix names twice puts numbers into other rows of the frame.
#
# Seen: 1 and 1 at the first place and 2 at the last, [[2, 0], [0, 2]]: DataFrame.sparse.from_spmatrix holds the
# column (1, 1) for (2, 0), and its sum is right. Of 3 and -1 at one place the frame says (3, -1), and its largest
# number is 3, where no place holds more than 2. Back as a matrix, by sparse.to_coo(), it is right again, so that a
# round trip does not show it. SciPy adds what shares a place, as its documentation says; after sum_duplicates() all
# is right.
# Why: the row numbers of a column are taken as they stand for the index of a column, which has each once.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pandas==3.1.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/twice.py" <<'PYTHON'
import numpy as np
import pandas as pd
import scipy.sparse as sp

for first, second in ((1.0, 1.0), (3.0, -1.0)):
    matrix = sp.csr_array((np.array([first, second, 2.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    frame = pd.DataFrame.sparse.from_spmatrix(matrix)
    print(f"matrix {matrix.toarray().tolist()}, frame {frame.to_numpy().tolist()}, "
          f"largest {frame[0].max():g}, back {frame.sparse.to_coo().toarray().tolist()}")
    matrix.sum_duplicates()
    assert (pd.DataFrame.sparse.from_spmatrix(matrix).to_numpy() == matrix.toarray()).all()
PYTHON
seen=$(cd "$folder" && venv/bin/python twice.py)
echo "$seen"
[[ $seen == "matrix [[2.0, 0.0], [0.0, 2.0]], frame [[1.0, 0.0], [1.0, 2.0]], largest 1, back [[2.0, 0.0], [0.0, 2.0]]
matrix [[2.0, 0.0], [0.0, 2.0]], frame [[3.0, 0.0], [-1.0, 2.0]], largest 3, back [[2.0, 0.0], [0.0, 2.0]]" ]]
