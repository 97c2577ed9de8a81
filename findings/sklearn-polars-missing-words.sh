#!/usr/bin/env bash
# scikit-learn 1.9.1 with polars 2.1.0 and pandas 3.1.1: a missing word of polars is not missing, nor is it pandas' one.
#
# Seen: the words a, b, (missing), a. SimpleImputer(strategy="most_frequent") of the pandas frame gives a, b, a, a; of
# the polars frame a, b, None, a, without a word. OneHotEncoder, fitted on the one and asked with the other, knows the
# missing word from training, as nan or as None, and takes the other library's for an unknown one: three zeros with
# handle_unknown="ignore", also silently. Numbers are not concerned: a missing one is nan in both.
# Why: missing_values is nan by default and compared with the words as they come: polars gives None, pandas 3 nan.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 pandas==3.1.1 polars==2.1.0 scipy==1.17.1 numpy==2.4.6
cat > "$folder/words.py" <<'PYTHON'
import pandas as pd
import polars as pl
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

words = {"c": ["a", "b", None, "a"]}
frames = {"pandas": pd.DataFrame(words), "polars": pl.DataFrame(words)}
for name, frame in frames.items():
    print(name, SimpleImputer(strategy="most_frequent").fit_transform(frame).ravel().tolist())
for name, frame in frames.items():
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(frame)
    for other, asked in frames.items():
        print(f"{name}, then {other}:", encoder.transform(asked)[2].tolist())
numbers = {"c": [1.0, None, 3.0]}
for frame in (pd.DataFrame(numbers), pl.DataFrame(numbers)):
    print(SimpleImputer().fit_transform(frame).ravel().tolist())
PYTHON
seen=$("$folder/venv/bin/python" "$folder/words.py")
echo "$seen"
[[ $seen == "pandas ['a', 'b', 'a', 'a']
polars ['a', 'b', None, 'a']
pandas, then pandas: [0.0, 0.0, 1.0]
pandas, then polars: [0.0, 0.0, 0.0]
polars, then pandas: [0.0, 0.0, 0.0]
polars, then polars: [0.0, 0.0, 1.0]
[1.0, 2.0, 3.0]
[1.0, 2.0, 3.0]" ]]
