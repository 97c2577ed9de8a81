#!/usr/bin/env bash
# scikit-learn 1.9.1: a NaN in a list of names becomes the class 'nan', which is trained on and predicted.
#
# Seen: y is a list of 20 names with one float("nan") among them, as a CSV file with an empty cell gives it. The
# classifier fits without a word, and its classes_ are 'a', 'b' and 'nan'. The same rows as an array of objects, or as
# a series of pandas, are refused: "Input contains NaN". So is a list of numbers with a NaN among them.
# Why: np.asarray makes an array of strings of such a list, and of the NaN its name, before anything looks for NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
cat > "$folder/names.py" <<'PYTHON'
import numpy as np
from sklearn.linear_model import LogisticRegression

x, names = np.arange(20.0).reshape(20, 1), ["a"] * 10 + ["b"] * 9 + [float("nan")]
for y in (names, np.array(names, object), [0.0] * 10 + [1.0] * 9 + [float("nan")]):
    try:
        model = LogisticRegression().fit(x, y)
        print(type(y).__name__, model.classes_.tolist(), model.predict([[40.0]]).tolist())
    except ValueError as error:
        print(type(y).__name__, str(error).partition("\n")[0])
PYTHON
seen=$("$folder/venv/bin/python" "$folder/names.py")
echo "$seen"
[[ $seen == "list ['a', 'b', 'nan'] ['nan']
ndarray Input contains NaN
list Input y contains NaN." ]]
