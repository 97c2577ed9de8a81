#!/usr/bin/env bash
# scikit-learn 1.9.1 with pandas 3.1.1: copy=False of a scaler, copy_X=False of a regression, change other frames too.
#
# Seen: kept = df.rename(columns=...), then StandardScaler(copy=False).fit_transform(df): kept is scaled as well. So it
# is after df[["a", "b"]], reset_index, assign and df["a"].to_frame(), and after fit alone of
# LinearRegression(copy_X=False); the other way round too, where kept is scaled and df is what was to stay. Only
# df.copy() is spared. pandas 3 promises that each of these is as a copy, and that no change of one shows in another.
# Why: pandas shares the memory until somebody writes, and hands it out as a read-only array; scikit-learn's check_array
# makes an array of a frame writeable again, and pandas never hears of what is written there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 pandas==3.1.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/frames.py" <<'PYTHON'
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

ways = {
    "copy": lambda df: df.copy(),
    "rename": lambda df: df.rename(columns={"a": "c"}),
    "columns": lambda df: df[["a", "b"]],
    "reset_index": lambda df: df.reset_index(drop=True),
    "assign": lambda df: df.assign(),
    "to_frame": lambda df: df["a"].to_frame(),
}
for name, way in ways.items():
    for scaled in (True, False):
        df = pd.DataFrame({"a": [1.0, 3.0], "b": [2.0, 6.0]})
        kept = way(df)
        if scaled:
            StandardScaler(copy=False).fit_transform(df)
        else:
            LinearRegression(copy_X=False).fit(df, [0.0, 1.0])
        print(name, "scaler" if scaled else "regression", kept.iloc[:, 0].tolist())
df = pd.DataFrame({"a": [1.0, 3.0], "b": [2.0, 6.0]})
StandardScaler(copy=False).fit_transform(df.rename(columns={"a": "c"}))
print("df", df["a"].tolist())
PYTHON
seen=$("$folder/venv/bin/python" "$folder/frames.py")
echo "$seen"
[[ $seen == "copy scaler [1.0, 3.0]
copy regression [1.0, 3.0]
rename scaler [-1.0, 1.0]
rename regression [-1.0, 1.0]
columns scaler [-1.0, 1.0]
columns regression [-1.0, 1.0]
reset_index scaler [-1.0, 1.0]
reset_index regression [-1.0, 1.0]
assign scaler [-1.0, 1.0]
assign regression [-1.0, 1.0]
to_frame scaler [-1.0, 1.0]
to_frame regression [-1.0, 1.0]
df [-1.0, 1.0]" ]]
