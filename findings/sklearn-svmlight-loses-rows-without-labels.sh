#!/usr/bin/env bash
# scikit-learn 1.9.1: dump_svmlight_file writes a row that has neither label nor feature, and loading leaves it out.
#
# Seen: three rows for multilabel=True, of which the second has no label and is all 0. Three lines are written, and
# load_svmlight_file gives two rows. The third row is the second from there on, beside all that is kept about rows
# elsewhere: names, weights, folds. No warning from either.
# Why: such a row is an empty line, and empty lines are skipped. Without multilabel=True a line always has its target.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/rows.py" <<'PYTHON'
import numpy as np
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

x = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
labels = np.array([[1, 0], [0, 0], [0, 1]])
dump_svmlight_file(x, labels, "x.svm", multilabel=True)
with open("x.svm") as file:
    print(f"lines {file.read().splitlines()}")
back, found = load_svmlight_file("x.svm", multilabel=True, n_features=2, zero_based=True)
print(f"rows {back.toarray().tolist()}, labels {[[int(label) for label in row] for row in found]}")
PYTHON
seen=$(cd "$folder" && venv/bin/python rows.py)
echo "$seen"
[[ $seen == "lines ['0 0:1', ' ', '1 1:3']
rows [[1.0, 0.0], [0.0, 3.0]], labels [[0], [1]]" ]]
