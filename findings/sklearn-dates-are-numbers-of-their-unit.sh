#!/usr/bin/env bash
# scikit-learn 1.9.1 with pandas 3.1.1 and polars 2.1.0: a date is a number of its unit, and units differ by library.
#
# Seen: StandardScaler, fitted on two dates as pandas 3 reads them, in microseconds, makes -1 and 1 of them; of the same
# dates in nanoseconds, as pandas 2 had them, 19,703,276 and 19,705,276; in seconds, or in the days of polars, -19,724
# twice. A decision tree predicts the target of the first date for both, or that of the last. No warning. Beside
# a column of floats pandas' dates are refused, while those of polars become days.
# Why: NumPy makes a float of datetime64 by its unit; to_datetime of pandas 2 gave nanoseconds, of pandas 3 it gives
# microseconds; a polars Date counts days.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 pandas==3.1.1 polars==2.1.0 scipy==1.17.1 numpy==2.4.6
cat > "$folder/dates.py" <<'PYTHON'
import pandas as pd
import polars as pl
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

frame = pd.DataFrame({"day": pd.to_datetime(["2024-01-01", "2024-01-03"])})
scaler, tree = StandardScaler().fit(frame), DecisionTreeRegressor().fit(frame, [0.0, 1.0])
print(frame["day"].dtype)
for unit in ("s", "us", "ns"):
    same = frame.astype(f"datetime64[{unit}]")
    print(unit, scaler.transform(same).ravel().round().tolist(), tree.predict(same).tolist())
days = pl.DataFrame({"day": frame["day"].dt.date.tolist()})
print("polars", scaler.transform(days).ravel().round().tolist(), tree.predict(days).tolist())
print("polars beside a float", StandardScaler().fit(days.with_columns(x=0.5)).mean_.tolist())
try:
    StandardScaler().fit(frame.assign(x=0.5))
except TypeError as error:
    print("pandas beside a float", type(error).__name__)
PYTHON
seen=$("$folder/venv/bin/python" "$folder/dates.py")
echo "$seen"
[[ $seen == "datetime64[us]
s [-19724.0, -19724.0] [0.0, 0.0]
us [-1.0, 1.0] [0.0, 1.0]
ns [19703276.0, 19705276.0] [1.0, 1.0]
polars [-19724.0, -19724.0] [0.0, 0.0]
polars beside a float [19724.0, 0.5]
pandas beside a float DTypePromotionError" ]]
