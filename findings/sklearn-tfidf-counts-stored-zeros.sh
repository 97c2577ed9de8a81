#!/usr/bin/env bash
# scikit-learn 1.9.1 with scipy 1.17.1: TfidfTransformer takes a count of 0 that is stored for a word that occurs.
#
# Seen: counts (1, 0), (1, 1), (1, 2), the 0 stored, as x.data[...] = 0, a file with "2:0" or a product of two
# matrices leaves it: the second word has the weight 1, that of a word that all documents have, where 1.288 is due.
# With sublinear_tf=True the same matrix is refused, "Input contains infinity", which it does not. The dense array,
# and the matrix after eliminate_zeros(), are right.
# Why: what is counted are the stored places of a column, and 1 + ln 0 is minus infinity.
# Here a Dataset drops stored zeros first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/zeros.py" <<'PYTHON'
import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfTransformer

x = sp.csr_array(np.array([[1.0, 7.0], [1.0, 1.0], [1.0, 2.0]]))
x.data[1] = 0
for name, counts in (("stored", x), ("dense", x.toarray())):
    print(f"{name}: {TfidfTransformer().fit(counts).idf_.round(3)}", end=", ")
    try:
        print(TfidfTransformer(sublinear_tf=True).fit_transform(counts).toarray()[0])
    except ValueError as error:
        print(error)
PYTHON
seen=$(cd "$folder" && venv/bin/python zeros.py)
echo "$seen"
[[ $seen == "stored: [1. 1.], Input contains infinity or a value too large for dtype('float64').
dense: [1.    1.288], [1. 0.]" ]]
